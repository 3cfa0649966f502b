// Two fingers on the timeline: what is between them is spread or drawn together, and moves along with them.

const fingers = new Map(); // by pointer: where each is, in px
let wasPinched = false; // since the first finger came down
const isPinching = () => fingers.size > 1;

/** Where two fingers are: their middle, and how far apart they are. */
function pinchOf(target) {
  const [one, other] = [...fingers.values()];
  return { x: (one + other) / 2 - target.getBoundingClientRect().left, apart: Math.max(24, Math.abs(one - other)) };
}

function pinching(target) {
  target.addEventListener("pointerdown", (event) => {
    if (event.pointerType !== "touch" || isPinching()) return;
    fingers.set(event.pointerId, event.clientX);
    wasPinched = isPinching();
  });
  target.addEventListener("pointermove", (event) => {
    if (!fingers.has(event.pointerId)) return;
    if (!isPinching()) return fingers.set(event.pointerId, event.clientX);
    const before = pinchOf(target);
    fingers.set(event.pointerId, event.clientX);
    const now = pinchOf(target);
    const held = placing(lanesBox.clientWidth).valueOf(Math.max(GUTTER, before.x));
    zoom(before.apart / now.apart, held);
    pan((before.x - now.x) * perPixel());
  });
  for (const name of ["pointerup", "pointercancel"])
    document.addEventListener(name, (event) => fingers.delete(event.pointerId), true);
}
