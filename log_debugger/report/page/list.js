// A list of any length, of which only the rows in sight are elements.

const LIST_HEIGHT_MAX = 8000000; // px; browsers draw nothing beyond some such height

class LongList {
  /** Rows of `rowHeight` px in `box`; `row(index)` makes the element of one. */
  constructor(box, rowHeight, row, label) {
    const size = () => (this.rowHeight = byTouch.matches ? Math.max(40, rowHeight) : rowHeight);
    size();
    byTouch.addEventListener("change", () => {
      size();
      this.show(this.count);
    });
    this.row = row;
    this.count = 0;
    this.scroller = el("div", { class: "long", role: "list", "aria-label": label });
    this.sizer = el("div", { class: "sizer" });
    this.scroller.append(this.sizer);
    box.append(this.scroller);
    this.scroller.addEventListener("scroll", () => this.draw());
    new ResizeObserver(() => this.draw()).observe(this.scroller);
  }

  /** Show `count` rows, from the top if `fromTop`. */
  show(count, fromTop = false) {
    this.count = count;
    this.height = Math.min(count * this.rowHeight, LIST_HEIGHT_MAX);
    this.sizer.style.height = `${this.height}px`;
    if (fromTop) this.scroller.scrollTop = 0;
    this.draw();
  }

  /** Bring row `index` into sight, if it is not. */
  reveal(index) {
    const inSight = this.scroller.clientHeight;
    const top = this.topOf(index);
    if (top < this.scroller.scrollTop || top + this.rowHeight > this.scroller.scrollTop + inSight) {
      this.scroller.scrollTop = top - inSight / 2;
    }
    this.draw();
  }

  /** A list that is too high to be drawn is squeezed: less than a row of scrolling goes on by a row. */
  get isSqueezed() {
    return this.count * this.rowHeight > LIST_HEIGHT_MAX;
  }

  /** How far the list is scrolled for each row that it goes on by. */
  get step() {
    const inSight = this.scroller.clientHeight;
    return this.isSqueezed ? (this.height - inSight) / (this.count - inSight / this.rowHeight) : this.rowHeight;
  }

  topOf(index) {
    return index * this.step;
  }

  draw() {
    const inSight = this.scroller.clientHeight;
    if (!inSight && this.count) return; // an empty list loses its rows also where it is hidden
    const top = this.scroller.scrollTop;
    const exact = top / this.step;
    const first = Math.floor(exact);
    const offset = top - (exact - first) * this.rowHeight;
    const rows = [];
    for (let index = first; index < this.count; index++) {
      const place = offset + (index - first) * this.rowHeight;
      if (place > top + inSight) break;
      const made = this.row(index);
      made.setAttribute("role", "listitem");
      made.setAttribute("aria-setsize", this.count);
      made.setAttribute("aria-posinset", index + 1);
      made.style.top = `${place}px`;
      made.style.height = `${this.rowHeight}px`;
      rows.push(made);
    }
    this.sizer.replaceChildren(...rows);
  }
}
