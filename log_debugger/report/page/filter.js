// Filters, in the language of the commands' --when: from what was typed to the moments that match. No page in here.

/** A mistake in what was typed; its text says where, and what to write. */
class FilterMistake extends Error {}

const STRING = /"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'/;
const DATE_AND_CLOCK = /[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{1,2}:[0-9]{2}[\p{L}\p{N}_.:+-]*/u;
const WORD = /\+?[\p{L}\p{N}_][\p{L}\p{N}_.:\u00b7-]*(?:\+[0-9][0-9:]*)?/u;
const SIGN = /[<>=!]=|[<>(),]/;
const FILTER_TOKEN = new RegExp(
  `\\s*(?:(${STRING.source})|(${DATE_AND_CLOCK.source}|${WORD.source})|(${SIGN.source}))`,
  "suy",
);
const OTHER_SIGN = /\s*(=|&&?|\|\|?)/y;
const SIGNS_MEANT = { "=": "==", "&": "and", "&&": "and", "|": "or", "||": "or" };
const FILTER_WORDS = ["and", "or", "not", "in"];
const FILTER_NAMES = [
  ...["text", "person", "room", "type", "reason", "wait", "policy", "time"],
  ...["waiting", "rooms_open", "rooms_closed", "connections", "messages", "position"],
];
const REJECTION_HINT = "rejection needs the broker's rules, which a report has not: chat-broker replay LOG --when rejection";
const FILTER_DEPTH_MAX = 50;
function filterTokens(typed) {
  const tokens = [];
  const end = typed.trimEnd().length;
  for (let at = 0; at < end; at = FILTER_TOKEN.lastIndex) {
    FILTER_TOKEN.lastIndex = at;
    const found = FILTER_TOKEN.exec(typed);
    if (!found) throw notAToken(typed, at);
    const [all, string, word, sign] = found;
    const column = at + all.length - (string ?? word ?? sign).length + 1;
    if (string !== undefined) tokens.push({ value: string.slice(1, -1).replace(/\\(.)/gsu, "$1"), column });
    else if (word !== undefined && !FILTER_WORDS.includes(word)) tokens.push({ value: word, name: word, column });
    else tokens.push({ sign: sign ?? word, column });
  }
  return [...tokens, { sign: "", column: end + 1 }];
}

/** The mistake at `at`, where no token begins; a sign of another language has its counterpart. */
function notAToken(typed, at) {
  OTHER_SIGN.lastIndex = at;
  const [all, sign] = OTHER_SIGN.exec(typed) ?? [];
  if (!sign) return new FilterMistake(`column ${at + 1}: expected a name, a value or a comparison`);
  const column = at + all.length - sign.length + 1;
  return new FilterMistake(`column ${column}: ${sign} is no sign here; did you mean ${SIGNS_MEANT[sign]}?`);
}

/** A recursive descent over the tokens; each part gives its mask. */
class FilterReader {
  constructor(tokens) {
    this.tokens = tokens;
    this.at = 0;
    this.depth = 0;
  }

  get token() {
    return this.tokens[this.at];
  }

  takes(sign) {
    const taken = this.token.sign === sign;
    if (taken) this.at++;
    return taken;
  }

  expected(what, token = this.token) {
    return new FilterMistake(`column ${token.column}: expected ${what}`);
  }

  whole() {
    const mask = this.any();
    if (this.token.sign !== "") throw this.expected("'and', 'or' or the end");
    return mask;
  }

  any() {
    const parts = [this.all()];
    while (this.takes("or")) parts.push(this.all());
    return combined(parts, false);
  }

  all() {
    const parts = [this.one()];
    while (this.takes("and")) parts.push(this.one());
    return combined(parts, true);
  }

  one() {
    if (++this.depth > FILTER_DEPTH_MAX) throw this.expected(`at most ${FILTER_DEPTH_MAX} levels`);
    let mask;
    if (this.takes("not")) mask = complement(this.one());
    else if (this.takes("(")) {
      mask = this.any();
      if (!this.takes(")")) throw this.expected("'and', 'or' or ')'");
    } else mask = this.comparison();
    this.depth--;
    return mask;
  }

  comparison() {
    const parts = [];
    let left = this.operand();
    do {
      const isNotIn = this.token.sign === "not" && this.tokens[this.at + 1].sign === "in" && this.takes("not");
      if (this.takes("in")) {
        const mask = this.contained(left);
        parts.push(isNotIn ? complement(mask) : mask);
        break;
      }
      const sign = this.token.sign;
      if (!COMPARED[sign]) throw this.expected(`a comparison (${Object.keys(COMPARED).join(" ")} in)`);
      this.at++;
      const right = this.operand();
      parts.push(this.compared(left, sign, right));
      left = right;
    } while (COMPARED[this.token.sign]);
    return combined(parts, true);
  }

  operand() {
    if (this.token.name === "rejection") throw new FilterMistake(`column ${this.token.column}: ${REJECTION_HINT}`);
    if (this.token.value === undefined) throw this.expected(`a name (${FILTER_NAMES.join(", ")}) or a value`);
    return this.tokens[this.at++];
  }

  compared(left, sign, right) {
    if (isFilterName(left)) return masked(left, sign, right);
    if (isFilterName(right)) return masked(right, MIRRORED[sign], left);
    throw this.expected(`a name (${FILTER_NAMES.join(", ")}), which a report can be asked for`, left);
  }

  /** `VALUE in text`, or `NAME in (VALUE, ...)`. */
  contained(left) {
    if (!isFilterName(left)) {
      const field = this.operand();
      if (field.name !== "text") throw this.expected("text after in", field);
      return textsMask((text) => text.includes(left.value.toLowerCase()));
    }
    if (!this.takes("(")) return masked(left, "==", this.operand());
    const parts = [];
    do parts.push(masked(left, "==", this.operand()));
    while (this.takes(","));
    if (!this.takes(")")) throw this.expected("',' or ')'");
    return combined(parts, false);
  }
}

const isFilterName = (token) => token.name !== undefined && Object.hasOwn(FILTER_FIELDS, token.name);

/** The moments of what was typed, if it is a filter; `null` if it does not look like one. */
function filtered(typed) {
  if (!/[<>=]|!=|\bin\b|^\s*(not\s+)?rejection\b/.test(typed)) return null;
  return indexesOf(new FilterReader(filterTokens(typed)).whole());
}
