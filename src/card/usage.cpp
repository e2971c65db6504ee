// How to run the model, and how to get every figure of the card again.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>

#include "card/card_text.h"
#include "card/sections.h"
#include "card/write_card.h"

namespace qx {
namespace {

// One word of a shell command.
std::string shell_word(std::string_view text) {
  constexpr std::string_view kPlain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./=:,";
  std::string word(text);
  std::replace(word.begin(), word.end(), '\n', ' ');
  std::replace(word.begin(), word.end(), '\r', ' ');
  if (!word.empty() && word.find_first_not_of(kPlain) == std::string::npos) return word;
  std::string out = "'";
  for (const char c : word) out += c == '\'' ? "'\\''" : std::string(1, c);
  return out + "'";
}

std::string text_of(const Json& object, std::string_view key) {
  const Json& value = json_member(object, key);
  return value.is_string() ? value.get<std::string>() : std::string();
}

// What loads the model: its repository, else a directory of its name.
std::string handle(const CardFacts& facts) {
  return facts.repository.empty() ? facts.title : facts.repository;
}

std::string run_it(const CardFacts& facts) {
  const bool chat = facts.model && facts.model->template_hash;
  std::string out = "## How to run it\n\nWith [mlx-lm](https://github.com/ml-explore/mlx-lm)";
  out += chat ? ", which applies the model's own chat template:\n" : ":\n";
  out += "\n```sh\npip install mlx-lm\nmlx_lm.generate --model " + shell_word(handle(facts)) +
         " --prompt \"What is the capital of France?\" --max-tokens 100\n```\n";
  const std::string name = dump_json(Json(handle(facts)), -1, false, true);
  out +=
      "\n```python\nfrom mlx_lm import load, generate\n\nmodel, tokenizer = load(" + name + ")\n";
  if (chat) {
    out +=
        "messages = [{\"role\": \"user\", \"content\": \"What is the capital of France?\"}]\n"
        "prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True)\n";
  } else {
    out += "prompt = \"The capital of France is\"\n";
  }
  out += "print(generate(model, tokenizer, prompt=prompt, max_tokens=100))\n```\n";
  out += "\nWith qx, on a CPU";
  out += chat ? ", with the same template:\n" : ":\n";
  out += "\n```sh\n";
  const std::string directory = shell_word(facts.title);
  if (!facts.repository.empty()) {
    out += "hf download " + shell_word(facts.repository) + " --local-dir " + directory + "\n";
  }
  out += "qx generate -m " + directory +
         " -p \"What is the capital of France?\" --max-tokens 100\n```\n";
  return out;
}

// The directory of a run's model, as the commands call it.
std::string directory_of(const CardFacts& facts, std::size_t r) {
  return r == facts.self() ? facts.title : facts.runs[r].name;
}

std::string selection_options(const Json& run) {
  const Json& selection = json_member(run, "selection");
  std::string out;
  for (const char* key : {"offset", "limit", "sample", "seed"}) {
    const Json& value = json_member(selection, key);
    if (value.is_number_integer() && !(std::string_view(key) == "offset" && value == 0)) {
      out += fmt::format(" --{} {}", key, value.dump());
    }
  }
  if (const std::string file = text_of(selection, "indices_file"); !file.empty()) {
    out += " --indices " + shell_word(file.substr(file.rfind('/') + 1));
  }
  return out;
}

std::string eval_options(const Json& run) {
  std::string out = selection_options(run);
  const Json &shots = json_member(run, "few_shot"), &seed = json_member(run, "few_shot_seed");
  if (shots.is_number_integer() && shots != 0) {
    out += " --shots " + shots.dump();
    if (seed.is_number_integer()) out += " --fewshot-seed " + seed.dump();
    const Json& turns = json_member(run, "few_shot_multiturn");
    if (turns.is_boolean()) {
      out += turns == true ? " --fewshot-as-multiturn" : " --fewshot-single-turn";
    }
  }
  const std::string mode = text_of(run, "mode");
  if (mode == "chat" || mode == "plain") out += " --" + mode;
  for (const char* key : {"convention", "precision"}) {
    if (const std::string value = text_of(run, key); !value.empty()) {
      out += fmt::format(" --{} {}", key, shell_word(value));
    }
  }
  if (const Json& bits = json_member(run, "kv_bits"); bits.is_number_integer()) {
    out += " --kv-bits " + bits.dump();
  }
  const Json& variables = json_member(run, "template_variables");
  if (mode == "chat" && variables.is_object() && !variables.empty()) {
    out += " --chat-template-config " + shell_word(dump_json(variables, -1, false, true));
  }
  return out;
}

std::string tasks_option(const Json& run) {
  std::string list;
  const Json& tasks = json_member(run, "tasks");
  if (!tasks.is_object()) return list;
  for (const auto& [name, task] : tasks.items()) {
    const std::string description = text_of(task, "description");
    const bool own = !description.empty() && description != "shipped";
    list += (list.empty() ? "" : ",") + name + (own ? ".json" : "");
  }
  return list;
}

// Of what was measured beside the answers.
std::string measure_commands(const CardFacts& facts) {
  const CardRun& own = facts.own();
  const std::string directory = directory_of(facts, facts.self());
  std::string out;
  if (own.distance) {
    const Json& record = own.distance_record;
    const Json& windows = json_member(record, "windows");
    const std::string text = text_of(json_member(record, "text"), "file");
    out += "qx divergence -m " +
           shell_word(directory == own.name ? own.name : own.name + "=" + directory) + " --base " +
           shell_word(own.distance->base) + " --text " +
           shell_word(text.substr(text.rfind('/') + 1));
    if (const std::string c = text_of(windows, "convention"); !c.empty()) {
      out += " --convention " + shell_word(c);
    }
    for (const auto& [key, option] : {std::pair{"ctx", "--ctx"}, std::pair{"stride", "--stride"},
                                      std::pair{"windows", "--chunks"}}) {
      const Json& value = json_member(windows, key);
      if (value.is_number_integer()) out += fmt::format(" {} {}", option, value.dump());
    }
    if (const std::string p = text_of(record, "precision"); !p.empty()) {
      out += " --precision " + shell_word(p);
    }
    out += " -o runs\n";
  }
  if (own.speed) {
    out += fmt::format("qx bench -m {} -p {} -n {} --precision {} --threads {} -o {}\n",
                       shell_word(directory), own.speed->prompt_tokens, own.speed->generated_tokens,
                       shell_word(own.speed->precision), own.speed->threads,
                       shell_word("runs/" + own.name));
  }
  return out;
}

// What the card's own command was given, as far as the card shows it.
std::string card_options(const CardFacts& facts) {
  std::string out;
  const auto add = [&](const char* option, const std::string& value) {
    if (!value.empty()) out += fmt::format(" {} {}", option, shell_word(value));
  };
  if (facts.base && !facts.base_is_proven) add("--base", facts.runs[*facts.base].name);
  if (facts.metric != "default") add("--metric", facts.metric);
  if (facts.margin != CardRequest().margin) add("--margin", fmt::format("{:g}", facts.margin));
  add("--license", facts.metadata.license);
  for (const std::string& language : facts.metadata.languages) add("--language", language);
  for (const std::string& base : facts.metadata.base_models) add("--base-model", base);
  add("--repository", facts.repository);
  if (facts.title != facts.repository.substr(facts.repository.rfind('/') + 1)) {
    add("--title", facts.title);
  }
  return out;
}

std::string commands(const CardFacts& facts) {
  std::string out = "```sh\n";
  const Json provenance = facts.model ? facts.model->provenance : Json();
  const std::string recipe = text_of(provenance, "recipe");
  const std::string source = facts.base ? facts.runs[*facts.base].name
                                        : text_of(json_member(provenance, "source"), "name");
  const std::vector<std::string>& bases = facts.metadata.base_models;
  if (facts.base && bases.size() == 1) {
    out += "hf download " + shell_word(bases[0]) + " --local-dir " + shell_word(source) + "\n";
  }
  if (!recipe.empty() && !recipe.starts_with("like ") && !source.empty()) {
    const bool own = !json_member(provenance, "recipe_text").is_null();
    out += "qx convert -m " + shell_word(source) + " -o " + shell_word(facts.title) + " --recipe " +
           shell_word(recipe + (own ? ".json" : "")) + " --rounding " +
           shell_word(text_of(provenance, "rounding")) + "\n";
    out += "qx verify " + shell_word(facts.title) + " --source " + shell_word(source) + "\n";
  }
  out += "qx eval";
  std::string runs, with;
  for (std::size_t r = 0; r < facts.runs.size(); ++r) {
    const std::string& name = facts.runs[r].name;
    const std::string directory = directory_of(facts, r);
    out += " -m " + shell_word(directory == name ? name : name + "=" + directory);
    if (r != facts.self()) with += (r == 0 ? " --with " : " ") + shell_word("runs/" + name);
    runs += " " + shell_word("runs/" + name);
  }
  const Json& run = facts.own().run;
  out += " --tasks " + shell_word(tasks_option(run)) + eval_options(run) + " -o runs\n";
  if (facts.runs.size() > 1) {
    out += "qx compare" + runs;
    if (facts.base) out += " --baseline " + shell_word(facts.runs[*facts.base].name);
    out += fmt::format(" --margin {:g}\n", facts.margin);
  }
  out += measure_commands(facts);
  out += "qx card " + shell_word("runs/" + facts.own().name) + with + card_options(facts) +
         " -o README.md\n";
  return out + "qx card --check README.md --runs runs\n```\n";
}

// Which program made a run, by version and commit.
std::string program_text(const Json& run) {
  const std::string version = text_of(run, "version"), commit = text_of(run, "commit");
  std::string text = markdown_text(version);
  if (!commit.empty()) text += (text.empty() ? "commit " : ", commit ") + code_text(commit);
  if (json_member(run, "dirty") == true) text += ", with uncommitted changes";
  if (const std::string kernels = text_of(run, "kernels"); !kernels.empty()) {
    text += ", kernels " + markdown_text(kernels);
  }
  return text;
}

// Versions, settings and hashes, one a row.
std::vector<std::vector<std::string>> records(const CardFacts& facts) {
  std::vector<std::vector<std::string>> rows;
  const Json& run = facts.own().run;
  const auto add = [&](const std::string& what, const std::string& value) {
    if (!value.empty()) rows.push_back({what, value});
  };
  std::vector<std::string> programs;
  for (const CardRun& one : facts.runs) programs.push_back(program_text(one.run));
  const bool same = std::all_of(programs.begin(), programs.end(),
                                [&](const std::string& p) { return p == programs.front(); });
  for (std::size_t r = 0; r < programs.size(); ++r) {
    if (!same || r == 0) add(same ? "qx" : "qx of run " + run_text(facts, r), programs[r]);
  }
  const auto hash = [](const Json& value) {
    return value.is_string() ? code_text(value.get<std::string>()) : std::string();
  };
  const Json& chat = json_member(run, "template_hash");
  if (json_member(json_member(json_member(run, "model"), "files"), "chat_template.jinja") != chat) {
    add("chat template", hash(chat));
  }
  const Json& files = json_member(json_member(run, "model"), "files");
  if (files.is_object()) {
    for (const auto& [name, sha] : files.items()) add(markdown_text(name), hash(sha));
  }
  const Json provenance = facts.model ? facts.model->provenance : Json();
  const Json& sources = json_member(json_member(provenance, "source"), "files");
  if (sources.is_array()) {
    for (const Json& file : sources) {
      add("source: " + markdown_text(text_of(file, "name")), hash(json_member(file, "sha256")));
    }
  }
  const Json& tasks = json_member(run, "tasks");
  if (tasks.is_object()) {
    for (const auto& [name, task] : tasks.items()) {
      const Json &items = json_member(task, "items"), &all = json_member(task, "rows");
      std::string rows_text;
      if (items.is_number_integer() && all.is_number_integer()) {
        rows_text = fmt::format(", {} of {} rows", items.dump(), all.dump());
      }
      add("data of " + markdown_text(name), hash(json_member(task, "data_hash")) + rows_text);
    }
  }
  return rows;
}

}  // namespace

std::string card_usage(const CardFacts& facts) {
  std::string out = run_it(facts) +
                    "\n## How to get these figures again\n\nEach model lies in a directory of its "
                    "run's name, this one in " +
                    code_text(facts.title) +
                    "; the task data are those that `qx data fetch` gets, where\nthe hashes below "
                    "agree.\n\n" +
                    commands(facts) + "\nHashes are SHA-256.\n\n";
  return out + markdown_table({"what", "value"}, records(facts), {true, true});
}

}  // namespace qx
