// Elements, made of text and never of markup.

/** Return an element with attributes and listeners (`onclick` and the like), and with children: nodes or texts. */
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** Return whether a key belongs to an input method, which takes it to end a word; Safari says so by its code alone. */
export const isOfInputMethod = (event) => event.isComposing || event.keyCode === 229;

/** Set the text of `element`, unless it is the same: a screen reader would say it again. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
