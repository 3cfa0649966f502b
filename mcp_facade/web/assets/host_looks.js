// The looks of the window: the host's colours and fonts, its display mode, and a height that fits.

import { setText } from "./dom.js";

const VARIABLE = /^--[a-z0-9-]+$/i;

/** Keeps the document as the host's context says, and tells the host how high `element` is. */
export class HostLooks {
  #bridge;
  #element;
  #fonts = document.createElement("style");
  #told = "";
  #isConnected = false;

  constructor(bridge, element) {
    this.#bridge = bridge;
    this.#element = element;
    document.head.append(this.#fonts);
    new ResizeObserver(() => this.#fit()).observe(element);
  }

  get isFullscreen() {
    return document.documentElement.dataset.mode === "fullscreen";
  }

  /** Show `context`, that of a host that has shaken hands. */
  apply({ theme, styles, displayMode, safeAreaInsets }) {
    const { style, dataset } = document.documentElement;
    if (theme === "light" || theme === "dark") style.colorScheme = theme;
    for (const [name, value] of Object.entries(styles?.variables || {})) {
      if (VARIABLE.test(name)) style.setProperty(name, value);
    }
    const fonts = styles?.css?.fonts; // a change of other styles leaves them out
    if (fonts !== undefined) setText(this.#fonts, fonts || "");
    for (const [side, px] of Object.entries(safeAreaInsets || {})) style.setProperty(`--inset-${side}`, `${px}px`);
    dataset.mode = displayMode || "inline";
    this.#isConnected = true;
    this.#fit();
  }

  /** Some hosts go by what they are told, others by the height of the document. */
  #fit() {
    const { style } = document.documentElement;
    if (this.isFullscreen) {
      style.height = "";
      this.#told = "";
      return;
    }
    const height = Math.ceil(this.#element.getBoundingClientRect().height);
    style.height = `${height}px`;
    const size = `${innerWidth} ${height}`;
    if (!this.#isConnected || size === this.#told) return;
    this.#told = size;
    this.#bridge.sizeChanged(innerWidth, height);
  }
}
