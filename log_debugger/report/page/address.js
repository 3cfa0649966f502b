// The page's address: `#412` is position 412. It follows the moment once that stands still, so that back and forward
// lead through the moments that were looked at.

const SETTLED_MS = 300;
let settling = 0;
let written = N; // the moment that the address stands for

/** The moment that the address asks for, or `null`; says so if there is none such. */
function momentAsked() {
  const asked = location.hash.slice(1);
  const digits = /^[0-9]{1,16}$/.test(asked);
  const [first, last] = [positionOf(0), positionOf(N)];
  const isThere = digits && Number(asked) >= first && Number(asked) <= last;
  byId("hint").hidden = !asked || isThere;
  if (asked && !isThere)
    byId("hint").textContent =
      `The address ends with #${short(asked, 40)}, which is no position of this log: write #${first} to #${last}.`;
  return isThere ? Number(asked) - DATA.base : null;
}

function writeAddress() {
  written = state.moment;
  byId("hint").hidden = true;
  const address = `#${positionOf(written)}`;
  if (location.hash !== address) history.pushState(null, "", address);
}

function wireAddress() {
  written = state.moment;
  addEventListener("hashchange", () => {
    const moment = momentAsked();
    if (moment === null) return;
    written = moment;
    goTo(moment);
  });
  shows(["moment", "isPlaying"], () => {
    clearTimeout(settling);
    if (state.moment !== written && !state.isPlaying) settling = setTimeout(writeAddress, SETTLED_MS);
  });
}
