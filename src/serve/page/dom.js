// Elements, and how text, bytes and numbers are written. Text from models and servers is set as text, never as markup.
// SPDX-License-Identifier: Apache-2.0

export const byId = (id) => document.getElementById(id);

// An element with attributes and children; a string child becomes text.
export function h(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes || {})) element.setAttribute(key, value);
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

// What an answer shows of a text: control characters become their pictures, line ends and tabs stay.
export function readable(text) {
  return text.replace(/[\0-\x08\x0b-\x1f\x7f]/g, (c) =>
    String.fromCharCode(c === '\x7f' ? 0x2421 : 0x2400 + c.charCodeAt(0)));
}

const INVISIBLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}\u00a0\u2000-\u200b\u3000\ufeff]/gu;

// A token in a table or a sentence: nothing of it is left invisible. Bytes that are no whole characters are written in
// base 16.
export function tokenName(token) {
  if (token.bytes.length > 0) {
    try {
      new TextDecoder('utf-8', { fatal: true }).decode(token.bytes);
    } catch {
      return [...token.bytes].map((b) => `0x${b.toString(16).padStart(2, '0').toUpperCase()}`).join(' ');
    }
  }
  if (token.text === '') return '∅';
  return token.text.replaceAll(' ', '␣').replaceAll('\n', '↵').replaceAll('\t', '⇥')
    .replace(INVISIBLE, (c) => `\\u${c.codePointAt(0).toString(16).padStart(4, '0')}`);
}

// For sentences and screen readers: quoted, with plain spaces.
export function tokenWords(token) {
  return `“${tokenName(token).replaceAll('␣', ' ')}”`;
}

export function probability(logprob) {
  if (!Number.isFinite(logprob)) return '–';
  const percent = 100 * Math.exp(Math.min(logprob, 0));
  if (percent >= 99.95 && percent < 100) return '>99.9 %';
  if (percent >= 10) return `${percent.toFixed(1)} %`;
  if (percent >= 0.01) return `${Number(percent.toPrecision(2))} %`;
  return '<0.01 %';
}

export function logarithm(logprob, digits = 3) {
  if (!Number.isFinite(logprob)) return '–';
  return logprob.toFixed(digits).replace(/^-(?=0\.?0*$)/, '').replace('-', '−');
}

// With thousands apart.
export const count = (n) => n.toLocaleString('en');
