// Where the rows service is, who asks, and through which proxy: from the environment, with the
// variables that Hugging Face's own Python packages read.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "hub/http.h"
#include "hub/url.h"

namespace qx {

// The value of a variable, nullopt when it is not set. Tests put their own in its place.
using Environment = std::function<std::optional<std::string>(const char* name)>;
// getenv; an empty value counts as not set.
std::optional<std::string> process_environment(const char* name);

struct HubSettings {
  Url service;                 // ROWS in "ROWS/rows?dataset=.."; its target ends without '/'
  std::string service_from;    // "QX_HUB_ROWS", "HF_ENDPOINT" or "the default"
  std::string token;           // empty: none
  std::string token_from;      // "HF_TOKEN" or the file's path, for messages: never the token
  std::string token_withheld;  // why a token that is there is not sent; else empty
};

// The service: $QX_HUB_ROWS, an address as it is; else the host datasets-server.HOST of
// $HF_ENDPOINT (as the `datasets` package makes it, datasets/utils/_dataset_viewer.py), but an
// address in numbers or localhost as it is; else https://datasets-server.huggingface.co.
// The token: $HF_TOKEN, else $HUGGING_FACE_HUB_TOKEN, else the file $HF_TOKEN_PATH, else
// $HF_HOME/token, else $XDG_CACHE_HOME/huggingface/token, else ~/.cache/huggingface/token
// (huggingface_hub/constants.py and utils/_auth.py); none with $HF_HUB_DISABLE_IMPLICIT_TOKEN. It
// is withheld from a service without https that is not on this machine.
// Fails: Error for a bad address or token, and with $HF_HUB_OFFLINE.
HubSettings hub_settings(const Environment& environment);

// $https_proxy or $HTTPS_PROXY (for http: $http_proxy), else $all_proxy or $ALL_PROXY, but not for
// what $no_proxy or $NO_PROXY lists (names with all below them, addresses, "*"), nor ever for this
// machine. Fails: Error for a proxy that is not http://[USER:PASSWORD@]HOST:PORT.
HttpProxy proxy_for(const Url& url, const Environment& environment);

}  // namespace qx
