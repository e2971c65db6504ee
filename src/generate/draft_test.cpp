// SPDX-License-Identifier: Apache-2.0
#include "generate/draft.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <map>
#include <memory>
#include <string>

#include "base/error.h"
#include "base/random.h"
#include "support/tiny_model.h"

namespace qx {
namespace {
namespace fs = std::filesystem;
using Ids = std::vector<TokenId>;

TEST(PromptLookup, GoesOnAsTheLongestAgreementDid) {
  EXPECT_EQ(look_up_draft(Ids{1, 2, 3, 4, 9, 1, 2}, 2, 3), (Ids{3, 4, 9}));
  EXPECT_EQ(look_up_draft(Ids{1, 2, 3, 4, 9, 1, 2}, 2, 1), (Ids{3}));
  // Three tokens count for more than the two that came later.
  EXPECT_EQ(look_up_draft(Ids{7, 1, 2, 5, 8, 1, 2, 6, 7, 1, 2}, 2, 1), (Ids{5}));
  // The latest of equals.
  EXPECT_EQ(look_up_draft(Ids{1, 2, 5, 1, 2, 6, 1, 2}, 2, 1), (Ids{6}));
}

TEST(PromptLookup, IsSilentWhereNothingAgrees) {
  EXPECT_TRUE(look_up_draft(Ids{}, 2, 3).empty());
  EXPECT_TRUE(look_up_draft(Ids{1}, 1, 3).empty());
  EXPECT_TRUE(look_up_draft(Ids{1, 2, 3, 4}, 1, 3).empty());
  EXPECT_TRUE(look_up_draft(Ids{2, 3, 9, 2}, 2, 3).empty());  // one token agrees, two are asked
  EXPECT_EQ(look_up_draft(Ids{2, 3, 9, 2}, 1, 3), (Ids{3, 9, 2}));
  EXPECT_TRUE(look_up_draft(Ids{1, 2, 1, 2}, 2, 0).empty());
}

TEST(PromptLookup, ARepetitionGoesOnWithItself) {
  EXPECT_EQ(look_up_draft(Ids{5, 5, 5}, 2, 4), (Ids{5, 5, 5, 5}));
  EXPECT_EQ(look_up_draft(Ids{9, 1, 2, 3, 1, 2, 3}, 2, 7), (Ids{1, 2, 3, 1, 2, 3, 1}));
  // Agreements beyond 16 tokens are as good as those of 16.
  Ids text(40, 3);
  text.push_back(4);
  text.insert(text.end(), 20, 3);
  EXPECT_EQ(look_up_draft(text, 2, 2), (Ids{3, 3}));
}

class DraftTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    std::string pattern = (fs::path(::testing::TempDir()) / "qx_draft_XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
    pool_ = std::make_unique<ThreadPool>(2);
    model_ = make("m", {.layers = 2, .context = 64});
    same_ = load_model(root_ / "m", *pool_, Precision::kReference);
    other_ = make("other", {.seed = 9, .layers = 1, .context = 64, .tokenizer = false});
    tokenizer_ = std::make_unique<Tokenizer>(Tokenizer::load(root_ / "m"));
  }
  static void TearDownTestSuite() {
    model_.reset();
    same_.reset();
    other_.reset();
    pool_.reset();
    fs::remove_all(root_);
  }
  static std::unique_ptr<Model> make(const std::string& name, TinyModel options) {
    write_tiny_model(root_ / name, options);
    return load_model(root_ / name, *pool_, Precision::kReference);
  }

  // Guesses as long as may be, however improbable.
  static DrafterOptions by(Model* model, std::int64_t tokens = 3) {
    return {.model = model, .model_tokens = tokens, .context = 64, .least_probability = 0};
  }
  static Generation run(const Ids& prompt, GenerateOptions options, Drafter* drafter) {
    options.drafter = drafter;
    options.report_logprobs = true;
    options.top_logprobs = 2;
    Ids seen;
    Generation g = generate(*model_, prompt, options, [&](TokenId id) { seen.push_back(id); });
    EXPECT_EQ(seen, g.tokens);
    return g;
  }
  static void expect_same(const Generation& a, const Generation& b) {
    EXPECT_EQ(a.tokens, b.tokens);
    EXPECT_EQ(a.finish_reason, b.finish_reason);
    EXPECT_EQ(a.generation_steps, b.generation_steps);
    ASSERT_EQ(a.logprobs.size(), b.logprobs.size());
    for (std::size_t i = 0; i < a.logprobs.size(); ++i) {
      EXPECT_EQ(a.logprobs[i].logprob, b.logprobs[i].logprob);  // to the bit
      EXPECT_EQ(a.logprobs[i].top, b.logprobs[i].top);
    }
  }

  static inline fs::path root_;
  static inline std::unique_ptr<ThreadPool> pool_;
  static inline std::unique_ptr<Model> model_, same_, other_;
  static inline std::unique_ptr<Tokenizer> tokenizer_;
};

TEST_F(DraftTest, TextsAreTheSameWithEveryDraftAndSampler) {
  const std::map<std::string, SamplerOptions> samplers = {
      {"best", {}},
      {"hot", {.temperature = 1.3, .seed = 4}},
      {"filters", {.temperature = 0.8, .top_p = 0.9, .min_p = 0.01, .top_k = 50, .seed = 5}},
      {"xtc", {.temperature = 1, .seed = 6, .xtc_probability = 0.5, .xtc_threshold = 0.001}},
      {"penalties",
       {.temperature = 0.5,
        .seed = 7,
        .logit_bias = {{5, 3.0}, {383, 2.0}},
        .repetition_penalty = 1.3,
        .presence_penalty = 0.5,
        .frequency_penalty = 0.25}},
      {"repeats", {.temperature = 0.01, .logit_bias = {{7, 30.0}, {8, 30.0}}}}};
  DrafterOptions both = by(other_.get());
  both.lookup_tokens = 8;
  const std::map<std::string, DrafterOptions> drafters = {
      {"right", by(same_.get(), 5)},
      {"wrong", by(other_.get(), 4)},
      {"lookup", {.lookup_tokens = 8, .context = 64}},
      {"both", both},
      {"unsure", {.model = other_.get(), .context = 64}}};
  const Ids prompt = {1, 2, 3, 4, 1, 2, 3};
  for (const auto& [sampler, sampling] : samplers) {
    const GenerateOptions options{.max_tokens = 40, .sampling = sampling};
    const Generation plain = run(prompt, options, nullptr);
    EXPECT_EQ(plain.drafts.drafted, 0);
    for (const auto& [name, drafter_options] : drafters) {
      SCOPED_TRACE(sampler + ", " + name);
      Drafter drafter(drafter_options);
      expect_same(run(prompt, options, &drafter), plain);
      expect_same(run(prompt, options, &drafter), plain);  // with what it has kept
    }
  }
}

TEST_F(DraftTest, WhatIsAlwaysRightSavesPasses) {
  // One token comes from the prompt, the others four a pass.
  for (const double temperature : {0.0, 1.0, 5.0}) {
    Drafter drafter(by(same_.get()));
    const Generation g =
        run({1, 2, 3}, {.max_tokens = 13, .sampling = {.temperature = temperature, .seed = 3}},
            &drafter);
    EXPECT_EQ(g.drafts.passes, 3) << temperature;
    EXPECT_EQ(g.drafts.drafted, 9);
    EXPECT_EQ(g.drafts.accepted, 9);
    EXPECT_EQ(g.drafts.acceptance(), 1);
  }
  // Penalties and bias are part of the guess.
  Drafter drafter(by(same_.get()));
  const SamplerOptions sampling{.temperature = 1,
                                .logit_bias = {{9, 4.0}},
                                .presence_penalty = 5,
                                .presence_context_size = 0};
  EXPECT_EQ(run({1, 2, 3}, {.max_tokens = 13, .sampling = sampling}, &drafter).drafts.accepted, 9);
}

TEST_F(DraftTest, WhatIsAlwaysWrongCostsPassesAlone) {
  Drafter drafter(by(other_.get()));
  const Generation g = run({1, 2, 3}, {.max_tokens = 21}, &drafter);
  EXPECT_EQ(g.drafts.passes, 20);
  EXPECT_EQ(g.drafts.accepted, 0);
  EXPECT_EQ(g.drafts.drafted, 17 * 3 + 2 + 1);  // fewer where the text is to end
}

TEST_F(DraftTest, ARepetitionIsFoundByLookup) {
  Drafter drafter({.lookup_tokens = 8, .context = 64});
  const Generation g =
      run({1, 2, 3}, {.max_tokens = 40, .sampling = {.logit_bias = {{7, 1e4}}}}, &drafter);
  EXPECT_EQ(g.tokens, Ids(40, 7));
  // The prompt gives one token and two passes another each, until there is something to agree with;
  // then drafts of 4, 8, 8, 8 and what is left.
  EXPECT_EQ(g.drafts.passes, 7);
  EXPECT_EQ(g.drafts.accepted, 4 + 8 + 8 + 8 + 4);
}

TEST_F(DraftTest, AnUnsureModelGuessesNothing) {
  Drafter drafter({.model = other_.get(), .context = 64});
  const Generation g = run({1, 2, 3}, {.max_tokens = 20}, &drafter);
  EXPECT_EQ(g.drafts.drafted, 0);  // each of its tokens is improbable
  EXPECT_EQ(g.drafts.passes, 19);
}

TEST_F(DraftTest, LookupLearnsFromHitsAndMisses) {
  Drafter drafter({.lookup_tokens = 8, .context = 64});
  const Sampler sampler({});
  Ids text(20, 5);
  const auto drafted = [&] {
    return drafter.draft({.history = text, .most = 100, .vocab_size = 384, .sampler = &sampler})
        .size();
  };
  EXPECT_EQ(drafted(), 4u);
  drafter.judge(4);
  EXPECT_EQ(drafted(), 8u);
  drafter.judge(2);
  EXPECT_EQ(drafted(), 3u);
  drafter.judge(0);
  EXPECT_EQ(drafted(), 1u);
  text = {1, 2, 3, 1, 2};  // two tokens agree; three are asked for now
  EXPECT_EQ(drafted(), 0u);
  text = {1, 2, 3, 4, 1, 2, 3};
  EXPECT_EQ(drafted(), 1u);
  drafter.judge(1);
  text = {1, 2, 3, 1, 2};
  EXPECT_EQ(drafted(), 2u);
  // Not beyond what is of use, and not beyond the end of a text.
  const TokenId stop[] = {3};
  EXPECT_TRUE(
      drafter
          .draft({.history = text, .most = 9, .vocab_size = 384, .sampler = &sampler, .stop = stop})
          .empty());
  EXPECT_TRUE(
      drafter.draft({.history = text, .most = 0, .vocab_size = 384, .sampler = &sampler}).empty());
}

TEST_F(DraftTest, TheContextEndsATextInTheMiddleOfADraft) {
  for (const std::size_t size : {57u, 60u, 62u, 63u, 64u}) {
    const Ids prompt(size, 7);
    const GenerateOptions options{.max_tokens = 100};
    const Generation plain = run(prompt, options, nullptr);
    Drafter right(by(same_.get(), 5)), repeats({.lookup_tokens = 8, .context = 64});
    expect_same(run(prompt, options, &right), plain);
    expect_same(run(prompt, options, &repeats), plain);
    EXPECT_EQ(plain.tokens.size(), 64 - size);
  }
}

TEST_F(DraftTest, AShorterContextEndsTheGuessesAlone) {
  const auto brief = make("brief", {.layers = 2, .context = 12});
  const GenerateOptions options{.max_tokens = 30};
  Drafter drafter(by(brief.get()));
  const Generation g = run({1, 2, 3}, options, &drafter);
  expect_same(g, run({1, 2, 3}, options, nullptr));
  // Positions 3 to 11 are read from drafts and text; the last guess is for position 12.
  EXPECT_GT(g.drafts.accepted, 0);
  EXPECT_LE(g.drafts.drafted, 9);
  const Ids longer(20, 4);
  EXPECT_EQ(run(longer, options, &drafter).drafts.drafted, 0);
}

TEST_F(DraftTest, PaddedVocabulariesMayDiffer) {
  const auto small = make("small", {.layers = 1, .vocab = 320});
  const auto large = make("large", {.layers = 1, .vocab = 448});
  GenerateOptions options{
      .max_tokens = 20,
      .sampling = {.temperature = 1, .logit_bias = {{383, 1.0}}, .repetition_penalty = 1.1}};
  for (Model* draft : {small.get(), large.get()}) {
    // None where a text begins with a token that the small model has not.
    std::int64_t drafted = 0;
    for (options.sampling.seed = 1; options.sampling.seed <= 4; ++options.sampling.seed) {
      Drafter drafter(by(draft));
      const Generation g = run({1, 2, 3}, options, &drafter);
      expect_same(g, run({1, 2, 3}, options, nullptr));
      drafted += g.drafts.drafted;
    }
    EXPECT_GT(drafted, 0);
  }
  // A token that the draft model has not: it cannot read the text.
  Drafter drafter(by(small.get()));
  EXPECT_EQ(run({1, 2, 350}, options, &drafter).drafts.drafted, 0);
}

TEST_F(DraftTest, ABrokenModelGuessesNoMoreAndTheTextGoesOn) {
  make("broken", {.dtype = DType::kF32, .layers = 1, .context = 64});
  // Every weight NaN.
  {
    std::fstream file(root_ / "broken" / "model.safetensors",
                      std::ios::in | std::ios::out | std::ios::binary);
    std::uint64_t header = 0;
    file.read(reinterpret_cast<char*>(&header), sizeof header);
    const auto size = fs::file_size(root_ / "broken" / "model.safetensors");
    file.seekp(static_cast<std::streamoff>(8 + header));
    file << std::string(size - 8 - header, '\xFF');
  }
  const auto broken = load_model(root_ / "broken", *pool_, Precision::kReference);
  const GenerateOptions options{.max_tokens = 20};
  const Generation plain = run({1, 2, 3}, options, nullptr);
  std::vector<std::string> warnings;
  DrafterOptions drafts = by(broken.get());
  drafts.warn = [&](const std::string& why) { warnings.push_back(why); };
  for (const std::int64_t lookup : {0, 4}) {
    drafts.lookup_tokens = lookup;
    for (int text = 0; text < 2; ++text) {
      Drafter drafter(drafts);
      const Generation g = run({1, 2, 3}, options, &drafter);
      expect_same(g, plain);
      EXPECT_EQ(drafter.unread(Ids{1, 2, 3}), 0);
      EXPECT_TRUE(drafter.read(Ids{1, 2, 3}, 2));
    }
  }
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_NE(warnings.front().find("not finite"), std::string::npos) << warnings.front();
}

TEST_F(DraftTest, StopsInsideADraft) {
  const Ids prompt = {1, 2, 3};
  const Generation whole = run(prompt, {.max_tokens = 16}, nullptr);
  for (std::size_t at = 0; at < 9; ++at) {
    GenerateOptions options{.max_tokens = 16};
    options.stop = {whole.tokens[at]};
    Drafter drafter(by(same_.get()));
    expect_same(run(prompt, options, &drafter), run(prompt, options, nullptr));

    options.stop = {};
    const auto after = [&](std::function<bool()>& question, Drafter* drafter_or_null) {
      std::size_t asked = 0;
      question = [&] { return ++asked == at + 1; };
      return run(prompt, options, drafter_or_null);
    };
    Drafter by_text(by(same_.get())), by_user(by(same_.get()));
    expect_same(after(options.finished, &by_text), after(options.finished, nullptr));
    options.finished = {};
    // The second question of cancelled() is the first behind a token; a draft model's reading asks
    // none for a short prompt.
    expect_same(after(options.cancelled, &by_user), after(options.cancelled, nullptr));
    options.cancelled = {};
  }
}

TEST_F(DraftTest, AKeptSequenceHoldsTheTextAlone) {
  for (Model* draft : {same_.get(), other_.get()}) {
    KeptSequence kept(*model_, 64);
    Drafter drafter(by(draft));
    GenerateOptions options{.max_tokens = 10};
    options.drafter = &drafter;
    Ids prompt = {1, 2, 3};
    for (int turn = 0; turn < 3; ++turn) {
      const Generation g = generate(*model_, kept, prompt, options, [](TokenId) {});
      EXPECT_EQ(g.tokens, run(prompt, {.max_tokens = 10}, nullptr).tokens);
      prompt.insert(prompt.end(), g.tokens.begin(), g.tokens.end());
      EXPECT_EQ(Ids(kept.tokens().begin(), kept.tokens().end()),
                Ids(prompt.begin(), prompt.end() - 1));
      prompt.push_back(static_cast<TokenId>(40 + turn));
    }
  }
}

TEST_F(DraftTest, ASchemaRulesGuessesToo) {
  const Json schema = Json::parse(
      R"({"type": "object", "required": ["a"], "additionalProperties": false,
          "properties": {"a": {"type": "array", "items": {"enum": [true, null]}, "minItems": 3, "maxItems": 3}}})");
  const auto tree = std::make_shared<const VocabularyTree>(*tokenizer_);
  const auto text = [&](Drafter* drafter, std::uint64_t seed) {
    TokenConstraint constraint(std::make_shared<SchemaGrammar>(schema, "schema"), tree,
                               Ids{*tokenizer_->eos_id()});
    GenerateOptions options{.max_tokens = 50, .sampling = {.temperature = 1.5, .seed = seed}};
    options.constraint = &constraint;
    return run({72, 105}, options, drafter);
  };
  for (std::uint64_t seed = 0; seed < 4; ++seed) {
    const Generation plain = text(nullptr, seed);
    EXPECT_EQ(plain.finish_reason, FinishReason::kStop);
    Drafter right(by(same_.get())), other(by(other_.get()));
    Drafter lookup({.lookup_tokens = 6, .context = 64});
    const Generation guessed = text(&right, seed);
    expect_same(guessed, plain);
    EXPECT_EQ(guessed.drafts.accepted, guessed.drafts.drafted);
    const Generation by_other = text(&other, seed);
    expect_same(by_other, plain);
    EXPECT_GT(by_other.drafts.accepted, 0);  // most of a document has one way to go on
    expect_same(text(&lookup, seed), plain);
  }
}

// Of two tokens together, against the model's own probabilities, by Pearson's chi-squared.
TEST_F(DraftTest, TheDistributionIsTheModels) {
  constexpr int kTexts = 4000, kTop = 3;
  const SamplerOptions sampling{.temperature = 1, .top_k = kTop};
  const Ids prompt = {10, 20, 30};
  const auto weights = [&](const Ids& text) {
    std::vector<std::int32_t> last = {static_cast<std::int32_t>(text.size()) - 1};
    const auto segment = model_->new_segment(nullptr, 8);
    const Chunk chunk{segment.get(), text, last};
    std::vector<float> logits(384);
    model_->logits(model_->forward({&chunk, 1}).row(0), logits);
    std::map<TokenId, double> out;
    double total = 0;
    for (int k = 0; k < kTop; ++k) {
      const auto best = std::max_element(logits.begin(), logits.end());
      total += out[static_cast<TokenId>(best - logits.begin())] =
          std::exp(static_cast<double>(*best));
      *best = -1e9f;
    }
    for (auto& [id, weight] : out) weight /= total;
    return out;
  };
  std::map<Ids, double> expected;
  for (const auto& [a, first] : weights(prompt)) {
    for (const auto& [b, second] : weights({10, 20, 30, a})) expected[{a, b}] = first * second;
  }
  ASSERT_EQ(expected.size(), 9u);

  for (Model* draft : {same_.get(), other_.get()}) {
    std::map<Ids, int> counts;
    Drafter drafter(by(draft, 2));
    for (int i = 0; i < kTexts; ++i) {
      GenerateOptions options{.max_tokens = 3, .sampling = sampling};
      options.sampling.seed = static_cast<std::uint64_t>(i);
      options.drafter = &drafter;
      const Ids tokens = generate(*model_, prompt, options, [](TokenId) {}).tokens;
      ++counts[{tokens[0], tokens[1]}];
    }
    double chi_squared = 0;
    for (const auto& [pair, p] : expected) {
      const double gap = counts[pair] - kTexts * p;
      chi_squared += gap * gap / (kTexts * p);
    }
    EXPECT_EQ(counts.size(), 9u);
    EXPECT_LT(chi_squared, 26.1);  // 8 degrees of freedom, one in a thousand
  }
}

TEST_F(DraftTest, TokenizersMustAgree) {
  const auto with = [](const auto& change) {
    Json document = Json::parse(tiny_tokenizer_json());
    change(document);
    return Tokenizer::from_json(document.dump(), "{}", "draft");
  };
  check_draft_tokenizer(*tokenizer_, "m", with([](Json&) {}), "draft");
  // One more token at the end is no other vocabulary.
  check_draft_tokenizer(*tokenizer_, "m", with([](Json& d) {
    Json token = d["added_tokens"].back();
    token["id"] = token["id"].get<int>() + 1;
    token["content"] = "<|more|>";
    d["added_tokens"].push_back(token);
  }),
                        "draft");
  const Tokenizer other = with([](Json& d) {
    for (Json& token : d["added_tokens"]) {
      if (token["content"] == "<|im_start|>") token["content"] = "<|begin|>";
    }
  });
  try {
    check_draft_tokenizer(*tokenizer_, "m", other, "draft");
    FAIL() << "another token passed";
  } catch (const Error& e) {
    const std::string what = e.what();
    EXPECT_NE(what.find("got '<|begin|>' for token"), std::string::npos) << what;
    EXPECT_NE(what.find("expected '<|im_start|>' as in m"), std::string::npos) << what;
  }
  const Tokenizer larger = with([](Json& d) {
    const int first = d["added_tokens"].back()["id"].get<int>() + 1;
    for (int i = 0; i < 100; ++i) {
      Json token = d["added_tokens"][0];
      token["id"] = first + i;
      token["content"] = "<more" + std::to_string(i) + ">";
      d["added_tokens"].push_back(token);
    }
  });
  EXPECT_THROW(check_draft_tokenizer(*tokenizer_, "m", larger, "draft"), Error);
  EXPECT_THROW(check_draft_tokenizer(larger, "m", *tokenizer_, "draft"), Error);
}

}  // namespace
}  // namespace qx
