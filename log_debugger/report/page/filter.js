// Filters, in the language of the commands' --when: from what was typed to the moments that match. No page in here.

/** A mistake in what was typed; its text says where, and what to write. */
class FilterMistake extends Error {}

const STRING = /"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'/;
const LETTER = /(?:[A-Za-z0-9_]|[^\u0000-\u007f\s\u2264\u2265\u2260\u2018\u201c\u201d\u201e])/;
const DATE_AND_CLOCK = /[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{1,2}:[0-9]{2}[\p{L}\p{N}_.:+-]*/u;
const WORD = new RegExp(`\\+?${LETTER.source}(?:${LETTER.source}|[.:-])*(?:\\+[0-9][0-9:]*)?`, "u");
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
const FILTER_LENGTH_MAX = 1000;

function filterTokens(typed) {
  if ([...typed].length > FILTER_LENGTH_MAX) throw new FilterMistake(`a filter has at most ${FILTER_LENGTH_MAX} characters`);
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
    if (++this.depth > FILTER_DEPTH_MAX + 1) throw this.expected(`at most ${FILTER_DEPTH_MAX} levels`);
    let mask;
    if (this.takes("not")) mask = complement(this.one());
    else if (!this.isInParentheses() && this.takes("(")) {
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
      const sign = this.token.sign;
      if (sign !== "in" && !COMPARED[sign]) throw this.expected(`a comparison (${Object.keys(COMPARED).join(" ")} in)`);
      this.at++;
      const right = sign === "in" && this.token.sign === "(" && !this.isInParentheses() ? this.list() : [this.operand()];
      const mask = sign === "in" ? this.contained(left, right) : this.compared(left, sign, right[0]);
      parts.push(isNotIn ? complement(mask) : mask);
      left = right[0];
      if (right.length > 1) break;
    } while (COMPARED[this.token.sign] || ["in", "not"].includes(this.token.sign));
    return combined(parts, true);
  }

  /** Whether one value in parentheses of its own comes next. */
  isInParentheses() {
    const [open, value, close] = this.tokens.slice(this.at, this.at + 3);
    return open.sign === "(" && value?.value !== undefined && close?.sign === ")";
  }

  operand() {
    if (this.isInParentheses()) {
      this.at++;
      const inside = this.operand();
      this.at++;
      return inside;
    }
    if (this.token.name === "rejection") throw new FilterMistake(`column ${this.token.column}: ${REJECTION_HINT}`);
    if (this.token.value === undefined) throw this.expected(`a name (${FILTER_NAMES.join(", ")}) or a value`);
    return this.tokens[this.at++];
  }

  /** The values in parentheses, after `in`. */
  list() {
    const values = [];
    this.takes("(");
    do values.push(this.operand());
    while (this.takes(","));
    if (!this.takes(")")) throw this.expected("',' or ')'");
    return values;
  }

  compared(left, sign, right) {
    if (isFilterName(left)) return masked(left, sign, right);
    if (isFilterName(right)) return masked(right, MIRRORED[sign], left);
    throw this.expected(`a name (${FILTER_NAMES.join(", ")}), which a report can be asked for`, left);
  }

  /** `VALUE in text`, or `NAME in (VALUE, ...)`. */
  contained(left, values) {
    if (!isFilterName(left)) {
      if (values.length > 1 || values[0].name !== "text") throw this.expected("text after in", values[0]);
      return textsMask((text) => text.includes(folded(left.value)));
    }
    if (left.name === "text" && values.length === 1) throw this.expected('the words first, as in "chess" in text', left);
    return combined(
      values.map((value) => masked(left, "==", value)),
      false,
    );
  }
}

const isFilterName = (token) => token.name !== undefined && Object.hasOwn(FILTER_FIELDS, token.name);

/** The moments of what was typed, if it is a filter; `null` if it does not look like one. */
function filtered(typed) {
  if (!/[<>=]|!=|\bin\b|^\s*(not\s+)?rejection\b/.test(typed)) return null;
  return indexesOf(new FilterReader(filterTokens(typed)).whole());
}
