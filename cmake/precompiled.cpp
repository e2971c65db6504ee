// Owns the precompiled header of a kind of target (targets.cmake): nothing else is in here.
// SPDX-License-Identifier: Apache-2.0
