// Moving through the log: the slider, the buttons beside it, and playing.

const ALL_IN_MS = 30000;
const slider = byId("slider");

function drawTransport() {
  const m = state.moment;
  const at = DATA.start_ms + time[m];
  slider.value = positionOf(m);
  slider.setAttribute("aria-valuetext", `position ${positionOf(m)}, ${utc(at)}`);
  byId("position-now").textContent = positionOf(m).toLocaleString("en");
  byId("position-of").textContent = `of ${positionOf(N).toLocaleString("en")}`;
  byId("time-utc").textContent = utc(at);
  byId("time-relative").textContent = relative(time[m]);
  for (const [id, isOff] of [
    ["first", m === 0],
    ["back", m === 0],
    ["forward", m === N],
    ["last", m === N],
  ])
    byId(id).disabled = isOff;
}

let announcing = 0;

/** Say the moment to those who hear the page, once it stands still. */
function announce() {
  clearTimeout(announcing);
  announcing = setTimeout(() => {
    const m = state.moment;
    const who = commit.who[m] ? ` by ${short(nameOf(commit.who[m]), 40)}` : "";
    const what = m ? DATA.commands[commit.command[m]].replace(/_/g, " ") + who : "the beginning";
    const now = `${queueNow.rows.length} waiting, ${counted(roomsNow.rows.length, "room")} open.`;
    const broken = isBreached(m) ? " A promise is broken here." : "";
    byId("announced").textContent =
      `Position ${positionOf(m)}, ${utc(DATA.start_ms + time[m])}: ${what}. ${now}${broken}`;
  }, 350);
}

let playing = null; // {at: when it was last moved on, rest: part of a commit}

function setPlaying(isPlaying) {
  if (isPlaying && state.moment === N) goTo(0);
  change({ isPlaying });
  playing = isPlaying ? { at: performance.now(), rest: 0 } : null;
  if (isPlaying) requestAnimationFrame(playOn);
}

function playOn(now) {
  if (!playing) return;
  const chosen = byId("speed").value;
  const eachMs = chosen === "all" ? N / ALL_IN_MS : Number(chosen) / 1000;
  playing.rest += Math.max(0, now - playing.at) * eachMs;
  playing.at = now;
  const whole = Math.floor(playing.rest);
  playing.rest -= whole;
  if (whole) goTo(state.moment + whole);
  if (state.moment >= N) setPlaying(false);
  else requestAnimationFrame(playOn);
}

function wireTransport() {
  slider.min = positionOf(0);
  slider.max = positionOf(N);
  slider.addEventListener("input", () => goTo(Number(slider.value) - DATA.base));
  byId("first").addEventListener("click", () => goTo(0));
  byId("back").addEventListener("click", () => goTo(state.moment - 1));
  byId("forward").addEventListener("click", () => goTo(state.moment + 1));
  byId("last").addEventListener("click", () => goTo(N));
  byId("play").addEventListener("click", () => setPlaying(!state.isPlaying));
  shows(["moment"], drawTransport);
  shows(["moment"], announce);
  shows(["isPlaying"], () => {
    byId("play").setAttribute("aria-pressed", state.isPlaying);
    byId("play").setAttribute("aria-label", state.isPlaying ? "Pause" : "Play");
  });
}
