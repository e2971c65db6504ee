// qx._qx: the libraries of qx for Python. The package qx in python/qx is what users see.
// SPDX-License-Identifier: Apache-2.0
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cctype>
#include <exception>
#include <string>

#include "base/build_info.h"
#include "base/error.h"
#include "base/interrupt.h"
#include "bindings.h"
#include "kernels/api.h"

namespace nb = nanobind;

namespace qx::python {
namespace {

bool is_word(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0;
}

// Messages of the libraries name options of the command line: "--kv-bits" is the argument kv_bits.
std::string with_python_names(const std::string& text) {
  std::string out;
  for (std::size_t i = 0; i < text.size();) {
    const bool option = text.compare(i, 2, "--") == 0 && i + 2 < text.size() &&
                        is_word(text[i + 2]) && (i == 0 || !is_word(text[i - 1]));
    if (!option) {
      out += text[i++];
      continue;
    }
    for (i += 2; i < text.size() && (is_word(text[i]) || text[i] == '-'); ++i) {
      out += text[i] == '-' ? '_' : text[i];
    }
  }
  return out;
}

void translate(const std::exception_ptr& failure, void* error_type) {
  try {
    std::rethrow_exception(failure);
  } catch (const UsageError& e) {
    PyErr_SetString(PyExc_ValueError, with_python_names(e.what()).c_str());
  } catch (const Error& e) {
    PyErr_SetString(static_cast<PyObject*>(error_type), with_python_names(e.what()).c_str());
  } catch (const InternalError& e) {
    const std::string text = std::string("a fault in qx, please report it: ") + e.what();
    PyErr_SetString(PyExc_RuntimeError, text.c_str());
  } catch (const Interrupted& e) {
    PyErr_SetString(PyExc_KeyboardInterrupt, with_python_names(e.hint).c_str());
  }
}

std::vector<std::string> kernel_names() {
  std::vector<std::string> names;
  const KernelTables& all = available_kernels();
  for (int i = 0; i < all.count; ++i) names.emplace_back(all.tables[i]->name);
  return names;
}

void use_kernels(const std::string& name) {
  if (select_kernels(name.c_str())) return;
  std::string known;
  for (const std::string& table : kernel_names()) known += (known.empty() ? "" : ", ") + table;
  throw UsageError(
      fmt::format("kernels: got '{}', expected one that this machine has: {}", name, known));
}

}  // namespace

Precision precision_of(const std::string& name) {
  for (const Precision p : {Precision::kReference, Precision::kExact, Precision::kFast}) {
    if (name == precision_name(p)) return p;
  }
  throw UsageError(fmt::format("precision: got '{}', expected reference, exact or fast", name));
}

KvBits kv_bits_of(int bits) {
  for (const KvBits known : {KvBits::k4, KvBits::k8, KvBits::k16, KvBits::k32}) {
    if (bits == static_cast<int>(known)) return known;
  }
  throw UsageError(fmt::format("kv_bits: got {}, expected 32, 16, 8 or 4", bits));
}

std::unique_ptr<ThreadPool> make_pool(int threads) {
  if (threads < 0 || threads > 1024) {
    throw UsageError(fmt::format("threads: got {}, expected 1 to 1024, or None", threads));
  }
  return std::make_unique<ThreadPool>(threads > 0 ? threads : physical_cores());
}

}  // namespace qx::python

NB_MODULE(_qx, m) {
  using namespace qx::python;
  m.doc() = "The compiled part of qx; use the package qx.";
  const nb::object error = nb::steal(PyErr_NewExceptionWithDoc(
      "qx.Error", "A model, file or machine is at fault: \"[place] got X, expected Y\".",
      PyExc_RuntimeError, nullptr));
  m.attr("Error") = error;
  // The module keeps the type alive.
  nb::register_exception_translator(translate, error.ptr());
  m.attr("__version__") = qx::build_info().version;
  m.attr("commit") = qx::build_info().commit;
  m.def(
      "kernels", [] { return std::string(qx::kernels().name); },
      "The instruction set that is used.");
  m.def("available_kernels", &kernel_names,
        "The instruction sets that this machine has, slowest first.");
  m.def("select_kernels", &use_kernels, nb::arg("name"),
        "Use another instruction set, in the whole process.");
  bind_text(m);
  bind_model(m);
  bind_generate(m);
  bind_verbs(m);
}
