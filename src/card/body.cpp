// The card's body up to the scores' verdicts. Every figure stands in a table or a list, where `qx
// card --check` finds it; paragraphs hold none, so that they may be edited.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "card/card_text.h"
#include "card/sections.h"
#include "card/write_card.h"
#include "compare/words.h"

namespace qx {
namespace {

std::string score_text(double mean, double error) {
  return std::isfinite(error) ? fmt::format("{:.3f} ± {:.3f}", mean, error)
                              : fmt::format("{:.3f}", mean);
}

std::string recipe_name(const CardFacts& facts) {
  if (!facts.model) return "";
  const Json& recipe = json_member(facts.model->provenance, "recipe");
  return recipe.is_string() ? recipe.get<std::string>() : "";
}

}  // namespace

std::string code_text(std::string_view text) {
  std::string inner(text);
  std::erase_if(
      inner, [](char c) { return std::string_view("`\n\r|\\").find(c) != std::string_view::npos; });
  return "`" + inner + "`";
}

std::string run_text(const CardFacts& facts, std::size_t run) {
  return markdown_text(facts.runs[run].name);
}

std::string list_item(std::string_view text) {
  return "- " + std::string(text) + "\n";
}

std::vector<std::size_t> column_order(const CardFacts& facts) {
  std::vector<std::size_t> order;
  if (facts.base) order.push_back(*facts.base);
  order.push_back(facts.self());
  for (std::size_t r = 0; r < facts.self(); ++r) {
    if (r != facts.base) order.push_back(r);
  }
  return order;
}

namespace {

// OWNER/NAME with the letters that the Hub allows.
bool is_hub_name(const std::string& name) {
  constexpr std::string_view kAllowed =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/";
  const std::size_t slash = name.find('/');
  return name.find_first_not_of(kAllowed) == std::string::npos && slash != std::string::npos &&
         slash == name.rfind('/') && slash > 0 && slash + 1 < name.size();
}

// A link to the Hub; what cannot be a name there is text, since an address is not escaped.
std::string model_link(const std::string& base) {
  const std::string text = markdown_text(base);
  return is_hub_name(base) ? fmt::format("[{}](https://huggingface.co/{})", text, base) : text;
}

std::string introduction(const CardFacts& facts) {
  std::string origin;
  for (const std::string& base : facts.metadata.base_models) {
    origin += (origin.empty() ? "" : ", ") + model_link(base);
  }
  if (origin.empty() && facts.base) origin = code_text(facts.runs[*facts.base].name);
  std::string text = "**" + markdown_text(facts.title) + "** is ";
  const bool quantized = facts.model && facts.model->quantized;
  if (quantized && !origin.empty()) {
    text += origin + ", quantized to the MLX format";
  } else {
    text += quantized ? "a quantized model in the MLX format" : "a model in the MLX format";
    if (!origin.empty()) text += ", made from " + origin;
  }
  const std::string recipe = recipe_name(facts);
  if (quantized && !recipe.empty()) text += " by the recipe " + code_text(recipe) + " of qx";
  return text +
         ".\n\nThe tables and lists of this card were written by `qx card` from measurements. A "
         "difference is claimed where a\ntest on the same questions shows it, and nowhere else.\n";
}

std::string own_size(const CardFacts& facts) {
  const RunInfo& own = facts.comparison.runs[facts.self()];
  std::string text;
  if (own.bits_per_weight) text += fmt::format("{:.3f} bits per weight", *own.bits_per_weight);
  if (own.tensor_bytes) {
    text += (text.empty() ? "" : ", ") + bytes_text(*own.tensor_bytes) + " of tensors";
  }
  if (facts.base && own.tensor_bytes) {
    const auto base = facts.comparison.runs[*facts.base].tensor_bytes;
    if (base && *base > 0) {
      text +=
          fmt::format(" ({:.1f} % of the base)",
                      100.0 * static_cast<double>(*own.tensor_bytes) / static_cast<double>(*base));
    }
  }
  return text;
}

const PairSummary* against(const CardFacts& facts, std::size_t other) {
  return facts.self() == other ? nullptr : &pair_of(facts.comparison, other, facts.self());
}

std::string summary(const CardFacts& facts) {
  std::string out = "## In short\n\n";
  const std::string size = own_size(facts);
  if (!size.empty()) out += list_item("Size, measured: " + size + ".");
  if (facts.base) {
    const PairSummary& pair = *against(facts, *facts.base);
    out += list_item("In a paired test, " + markdown_text(average_clause(facts.comparison, pair)) +
                     ".");
  } else {
    out += list_item("The base is not among the runs of this card, so it claims no difference.");
  }
  std::string tasks;
  for (const TaskSummary& t : facts.comparison.tasks) {
    if (!t.informative) tasks += (tasks.empty() ? "" : ", ") + markdown_text(t.task);
  }
  if (!tasks.empty()) {
    out += list_item("Without information here, and left out of averages: " + tasks + ".");
  }
  return out;
}

std::string sizes(const CardFacts& facts) {
  std::vector<std::vector<std::string>> rows;
  for (const std::size_t r : column_order(facts)) {
    const RunInfo& info = facts.comparison.runs[r];
    const Json& plan = json_member(json_member(facts.runs[r].run, "model"), "plan_hash");
    std::string name = run_text(facts, r);
    if (r == facts.self()) name = "**" + name + "** (this model)";
    if (r == facts.base && facts.runs[r].name != "base") name += " (base)";
    rows.push_back({name, info.bits_per_weight ? fmt::format("{:.3f}", *info.bits_per_weight) : "",
                    info.tensor_bytes ? fmt::format("{}", *info.tensor_bytes) : "",
                    plan.is_string() ? code_text(plan.get<std::string>().substr(0, 16)) : ""});
  }
  return "## Size\n\nMeasured from the stored tensors, scales and biases included.\n\n" +
         markdown_table({"model", "bits per weight", "bytes of tensors", "plan hash"}, rows);
}

std::string role_table(const CardModel& model) {
  std::vector<std::vector<std::string>> rows;
  for (const SummaryLine& line : model.lines) {
    std::string roles;
    for (const Role role : line.roles) {
      roles += (roles.empty() ? "" : ", ") + std::string(role_name(role));
    }
    rows.push_back({roles, layers_text(line.layers, model.layers), fmt::format("{}", line.tensors),
                    fmt::format("{}", line.weights), markdown_text(line.storage),
                    fmt::format("{}", line.bytes), markdown_text(line.rule)});
  }
  return markdown_table({"role", "layers", "tensors", "weights", "stored as", "bytes", "rule"},
                        rows, {true, true, false, false, true, false, true});
}

std::string recipe(const CardFacts& facts) {
  if (!facts.model) return "";
  const CardModel& model = *facts.model;
  std::string out =
      "## Recipe\n\nMeasured from the weight files: which tensors are stored how.\n\n" +
      role_table(model) + "\n";
  out += list_item("Plan hash: " + code_text(model.plan_hash) +
                   " (SHA-256 over the name, bits, group size and mode of every tensor)");
  const auto text = [&](const char* key) {
    const Json& value = json_member(model.provenance, key);
    return value.is_string() ? value.get<std::string>() : std::string();
  };
  if (!text("recipe").empty()) out += list_item("Recipe: " + code_text(text("recipe")));
  if (!text("rounding").empty())
    out += list_item("Rounding: as MLX's " + text("rounding") + " encoder");
  for (const std::string& problem : model.problems) {
    out += list_item("Problem: " + markdown_text(problem));
  }
  return out;
}

std::string conditions(const Json& run) {
  const Json &mode = json_member(run, "mode"), &shots = json_member(run, "few_shot");
  std::string text;
  if (mode == "chat") text += ", asked through the chat template";
  if (mode == "plain") text += ", asked as plain text";
  if (shots.is_number_integer()) {
    text += shots == 0 ? ", without examples" : fmt::format(", after {} examples", shots.dump());
  }
  return text;
}

std::string scores(const CardFacts& facts) {
  const Comparison& c = facts.comparison;
  const std::vector<std::size_t> order = column_order(facts);
  std::vector<std::string> header{"task", "metric", "n"};
  for (const std::size_t r : order) header.push_back(run_text(facts, r));
  std::vector<std::vector<std::string>> rows;
  bool marked = false;
  for (const TaskSummary& t : c.tasks) {
    std::vector<std::string> row{markdown_text(t.task), t.metric, fmt::format("{}", t.n)};
    for (const std::size_t r : order) {
      const Score& s = t.scores[r];
      const bool empty = no_information(s.flags);
      marked = marked || empty;
      row.push_back(score_text(s.accuracy, s.clustered_stderr.value_or(s.stderr_)) +
                    (empty ? " (!)" : ""));
    }
    rows.push_back(std::move(row));
  }
  const auto tasks = std::count_if(c.tasks.begin(), c.tasks.end(),
                                   [](const TaskSummary& t) { return t.informative; });
  std::vector<std::string> average{average_label(tasks), "", ""};
  bool has_average = true;
  for (const std::size_t r : order) {
    has_average = has_average && c.runs[r].average.has_value();
    if (!has_average) break;
    average.push_back(score_text(*c.runs[r].average, c.runs[r].average_stderr.value_or(NAN)));
  }
  if (has_average) rows.push_back(std::move(average));
  std::string out = "## Scores\n\nAccuracy ± standard error on the same items for every model" +
                    conditions(facts.own().run) + ". The average weighs\nevery task alike.\n\n" +
                    markdown_table(header, rows, {true, true});
  if (marked) {
    out +=
        "\n(!) nearly every item got the same answer: this score carries no information, and the "
        "task is left out of the average.\n";
  }
  for (const std::string& note : c.notes) out += "\n" + markdown_text(note) + "\n";
  return out;
}

}  // namespace

std::string card_body(const CardFacts& facts) {
  std::string out = "# " + markdown_text(facts.title) + "\n\n" + introduction(facts) + "\n" +
                    summary(facts) + "\n" + sizes(facts) + "\n";
  for (const std::string& part :
       {recipe(facts), scores(facts), card_verdicts(facts), card_measurements(facts)}) {
    if (!part.empty()) out += part + "\n";
  }
  out.pop_back();
  return out;
}

}  // namespace qx
