// Which service is asked, with which token, through which proxy.
// SPDX-License-Identifier: Apache-2.0
#include "hub/settings.h"

#include <gtest/gtest.h>

#include <map>

#include "base/error.h"
#include "support/test_folder.h"

namespace qx {
namespace {

Environment environment(std::map<std::string, std::string> values) {
  return [values](const char* name) -> std::optional<std::string> {
    const auto found = values.find(name);
    if (found == values.end()) return std::nullopt;
    return found->second;
  };
}

std::string service(std::map<std::string, std::string> values) {
  return hub_settings(environment(std::move(values))).service.text();
}

std::string message_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

TEST(Url, PartsAndTexts) {
  const Url plain = parse_url("HTTPS://Hub.Example/a/b?c=d#e", "x");
  EXPECT_TRUE(plain.tls);
  EXPECT_EQ(plain.host, "hub.example");
  EXPECT_EQ(plain.port, 443);
  EXPECT_EQ(plain.target, "/a/b?c=d");
  EXPECT_EQ(parse_url("http://h:8080", "x").text(), "http://h:8080/");
  EXPECT_EQ(parse_url("http://[::1]:81/x", "x").text(), "http://[::1]:81/x");
  EXPECT_EQ(parse_url("https://h?x=1", "x").text(), "https://h/?x=1");
}

TEST(Url, WhatIsNoAddressIsRefusedWithoutShowingPasswords) {
  for (const char* text :
       {"", "hub.example", "ftp://h/", "https://", "https:///x", "https://h:0/", "https://h:65536/",
        "https://h:8x/", "https://h:/", "https://h /", "https://h/\r\nX: y", "https://h\xc3\xa9/",
        "https://[::1", "https://[zz]/", "https://-h/", "https://h%41/", "://h"}) {
    EXPECT_THROW(parse_url(text, "x"), Error) << text;
  }
  const std::string message =
      message_of([] { parse_url("https://me:hf_secret@hub.example/", "HF_ENDPOINT"); });
  EXPECT_EQ(message.find("hf_secret"), std::string::npos) << message;
  EXPECT_NE(message.find("HF_ENDPOINT"), std::string::npos) << message;
  const std::string typo = message_of([] { parse_url("htps://me:hf_secret@hub.example", "x"); });
  EXPECT_EQ(typo.find("hf_secret"), std::string::npos) << typo;
}

TEST(Url, RedirectsResolve) {
  const Url from = parse_url("https://h:1/a/b?c", "x");
  EXPECT_EQ(resolve_location(from, "/z?y=http://q", "x").text(), "https://h:1/z?y=http://q");
  EXPECT_EQ(resolve_location(from, "z", "x").text(), "https://h:1/a/z");
  EXPECT_EQ(resolve_location(from, "//k/z", "x").text(), "https://k/z");
  EXPECT_EQ(resolve_location(from, "http://k", "x").text(), "http://k/");
  EXPECT_THROW(resolve_location(from, "", "x"), Error);
  EXPECT_THROW(resolve_location(from, "file:///etc/passwd", "x"), Error);
}

TEST(Url, QueriesAreEncoded) {
  EXPECT_EQ(query_text({{"dataset", "a/b c&d"}, {"é", "1"}}), "dataset=a%2Fb%20c%26d&%C3%A9=1");
}

TEST(Url, TextsOfStrangersArePrintable) {
  EXPECT_EQ(printable("a\nb\x1b[31mc"), "a b?[31mc");
  EXPECT_EQ(printable("\xff\xfe"), "??");
  EXPECT_EQ(printable("ééé", 3), "é..");
}

TEST(HubSettings, TheServiceIsTheHubsUnlessNamed) {
  EXPECT_EQ(service({}), "https://datasets-server.huggingface.co");
  EXPECT_EQ(service({{"HF_ENDPOINT", "https://hub.example/"}}),
            "https://datasets-server.hub.example");
  EXPECT_EQ(service({{"HF_ENDPOINT", "http://127.0.0.1:8000"}}), "http://127.0.0.1:8000");
  EXPECT_EQ(service({{"HF_ENDPOINT", "http://localhost:8000/mirror/"}}),
            "http://localhost:8000/mirror");
  EXPECT_EQ(service({{"HF_ENDPOINT", "https://hub.example"},
                     {"QX_HUB_ROWS", "https://rows.example/v1/"}}),
            "https://rows.example/v1");
  EXPECT_THROW(service({{"HF_ENDPOINT", "nonsense"}}), Error);
  EXPECT_THROW(service({{"QX_HUB_ROWS", "https://h/?a=b"}}), Error);
  EXPECT_THROW(service({{"HF_HUB_OFFLINE", "1"}}), Error);
  EXPECT_NO_THROW(service({{"HF_HUB_OFFLINE", "0"}}));
}

TEST(HubSettings, TheTokenComesFromVariablesThenFiles) {
  const TestFolder folder;
  write_text(folder / "token", "hf_file\n");
  const std::string home = (folder / "").string();
  const auto token = [](std::map<std::string, std::string> values) {
    return hub_settings(environment(std::move(values))).token;
  };
  EXPECT_EQ(token({}), "");
  EXPECT_EQ(token({{"HF_HOME", home}}), "hf_file");
  EXPECT_EQ(token({{"HF_TOKEN_PATH", home + "token"}, {"HF_HOME", "/nonexistent"}}), "hf_file");
  EXPECT_EQ(token({{"HF_HOME", home}, {"HUGGING_FACE_HUB_TOKEN", "hf_old"}}), "hf_old");
  EXPECT_EQ(token({{"HF_TOKEN", " hf_new\n"}, {"HUGGING_FACE_HUB_TOKEN", "hf_old"}}), "hf_new");
  EXPECT_EQ(token({{"HF_TOKEN", "hf_new"}, {"HF_HUB_DISABLE_IMPLICIT_TOKEN", "1"}}), "");
  std::filesystem::create_directories(folder / "huggingface");
  write_text(folder / "huggingface/token", "hf_cache");
  EXPECT_EQ(token({{"XDG_CACHE_HOME", home}}), "hf_cache");
}

TEST(HubSettings, ATokenThatWouldBreakAHeaderIsRefusedAndNotShown) {
  for (const char* bad : {"hf_a\r\nX-Evil: 1", "hf_a b", "hf_\xc3\xa9"}) {
    const std::string message = message_of([bad] {
      hub_settings(environment({{"HF_TOKEN", bad}}));
    });
    EXPECT_NE(message.find("[HF_TOKEN]"), std::string::npos) << message;
    EXPECT_EQ(message.find("hf_"), std::string::npos) << message;
  }
}

TEST(HubSettings, NoTokenWithoutHttpsButOnThisMachine) {
  const HubSettings far =
      hub_settings(environment({{"HF_TOKEN", "hf_a"}, {"QX_HUB_ROWS", "http://hub.example"}}));
  EXPECT_EQ(far.token, "");
  EXPECT_NE(far.token_withheld.find("HF_TOKEN"), std::string::npos);
  EXPECT_EQ(far.token_withheld.find("hf_a"), std::string::npos);
  const HubSettings near =
      hub_settings(environment({{"HF_TOKEN", "hf_a"}, {"QX_HUB_ROWS", "http://127.0.0.1:1"}}));
  EXPECT_EQ(near.token, "hf_a");
  EXPECT_EQ(near.token_withheld, "");
}

TEST(Proxy, ByScheme) {
  const Url https = parse_url("https://hub.example", "x"),
            http = parse_url("http://hub.example", "x");
  EXPECT_EQ(proxy_for(https, environment({})).host, "");
  const auto both =
      environment({{"https_proxy", "http://me:pa%40ss@proxy:3128"}, {"http_proxy", "plain:80"}});
  EXPECT_EQ(proxy_for(https, both).host, "proxy");
  EXPECT_EQ(proxy_for(https, both).port, 3128);
  EXPECT_EQ(proxy_for(https, both).user, "me");
  EXPECT_EQ(proxy_for(https, both).password, "pa@ss");
  EXPECT_EQ(proxy_for(http, both).host, "plain");
  EXPECT_EQ(proxy_for(http, environment({{"HTTP_PROXY", "evil:1"}})).host, "");
  EXPECT_EQ(proxy_for(http, environment({{"ALL_PROXY", "all:1"}})).host, "all");
  EXPECT_THROW(proxy_for(https, environment({{"HTTPS_PROXY", "socks5://p:1"}})), Error);
}

TEST(Proxy, NotForWhatNoProxyListsNorForThisMachine) {
  const auto host = [](const char* url, const char* no_proxy) {
    return proxy_for(parse_url(url, "x"),
                     environment({{"https_proxy", "proxy:1"}, {"no_proxy", no_proxy}}))
        .host;
  };
  EXPECT_EQ(host("https://a.hub.example", "x, .hub.example"), "");
  EXPECT_EQ(host("https://a.hub.example", "HUB.example:443"), "");
  EXPECT_EQ(host("https://ahub.example", "hub.example"), "proxy");
  EXPECT_EQ(host("https://hub.example", "*"), "");
  EXPECT_EQ(host("https://hub.example", ""), "proxy");
  EXPECT_EQ(host("https://localhost", ""), "");
}

}  // namespace
}  // namespace qx
