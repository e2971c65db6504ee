// The loop of a compute probe: included by probe_<isa>.cpp inside its anonymous namespace, after
// QX_REGISTER, the asm constraint of its vector registers ("v", "x", "w"). Macros, because twelve
// chains in an array end up in memory (g++ 12), and because a template of another header could be
// shared between instruction sets.
//
// QX_PROBE_LOOP(type, zero, next, add) in a function with `steps` runs c = next(c) that often on
// twelve chains and declares `sum`, their total by add(a, b). The empty asm keeps each chain in its
// register and every step in place.
// SPDX-License-Identifier: Apache-2.0

#define QX_PROBE_STEP(c, next) \
  c = next(c);                 \
  __asm__ volatile("" : "+" QX_REGISTER(c))

#define QX_PROBE_LOOP(type, zero, next, add)                                                   \
  type c0 = zero, c1 = zero, c2 = zero, c3 = zero, c4 = zero, c5 = zero, c6 = zero, c7 = zero, \
       c8 = zero, c9 = zero, c10 = zero, c11 = zero;                                           \
  for (std::int64_t step = 0; step < steps; ++step) {                                          \
    QX_PROBE_STEP(c0, next);                                                                   \
    QX_PROBE_STEP(c1, next);                                                                   \
    QX_PROBE_STEP(c2, next);                                                                   \
    QX_PROBE_STEP(c3, next);                                                                   \
    QX_PROBE_STEP(c4, next);                                                                   \
    QX_PROBE_STEP(c5, next);                                                                   \
    QX_PROBE_STEP(c6, next);                                                                   \
    QX_PROBE_STEP(c7, next);                                                                   \
    QX_PROBE_STEP(c8, next);                                                                   \
    QX_PROBE_STEP(c9, next);                                                                   \
    QX_PROBE_STEP(c10, next);                                                                  \
    QX_PROBE_STEP(c11, next);                                                                  \
  }                                                                                            \
  static_assert(kProbeChains == 12);                                                           \
  const type sum = add(add(add(add(c0, c1), add(c2, c3)), add(add(c4, c5), add(c6, c7))),      \
                       add(add(c8, c9), add(c10, c11)))
