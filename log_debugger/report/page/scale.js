// From moments to places on the axis and back. The axis is time, or positions where time would be too uneven.

const TIME_IN_SIGHT_MIN = 20; // ms
const POSITIONS_IN_SIGHT_MIN = 4;

/** Moments on either axis; index N + 1 is the end of what goes on after the last commit. */
const AXES = { time: new Float64Array(N + 2), position: Float64Array.from({ length: N + 2 }, (_, m) => m) };
for (let m = 1; m <= N; m++) AXES.time[m] = Math.max(AXES.time[m - 1], time[m]); // time may have gone back, in a log that is broken
for (const axis of Object.values(AXES)) axis[N + 1] = axis[N] + Math.max(1, axis[N] * 0.01);

const axis = () => AXES[state.axis];
const wholeView = () => {
  const end = axis()[N + 1];
  return { low: -0.005 * end, high: end };
};

/** The last moment at or before `value` on the axis. */
const momentAt = (value) => Math.max(0, upperBound(axis(), value, 0, N + 1) - 1);

/** The moment nearest to `value` on the axis. */
function nearestMoment(value) {
  const m = momentAt(value);
  return m < N && axis()[m + 1] - value < value - axis()[m] ? m + 1 : m;
}

/** Show from `low` to `high`, as far as there is something. */
function lookAt(low, high) {
  const whole = wholeView();
  const all = whole.high - whole.low;
  const least = Math.min(all, state.axis === "time" ? TIME_IN_SIGHT_MIN : POSITIONS_IN_SIGHT_MIN);
  let size = high - low;
  if (size < least) {
    low -= (least - size) / 2;
    size = least;
  }
  size = Math.min(size, all);
  low = Math.max(whole.low, Math.min(low, whole.high - size));
  change({ view: { low, high: low + size } });
}

/** Show `factor` times as much as now, with `value` staying where it is. */
function zoom(factor, value = (state.view.low + state.view.high) / 2) {
  const { low, high } = state.view;
  lookAt(value - (value - low) * factor, value + (high - value) * factor);
}

const pan = (by) => lookAt(state.view.low + by, state.view.high + by);

/** Bring moment `m` into sight, if it is not. */
function reveal(m) {
  const value = axis()[m];
  const { low, high } = state.view;
  const size = high - low;
  if (value < low || value > high) lookAt(value - size / 2, value + size / 2);
}

/** The same moments in sight, on the other axis. */
function setAxis(name) {
  if (state.axis === name) return;
  const from = momentAt(state.view.low);
  const to = Math.min(N + 1, momentAt(state.view.high) + 1);
  const isWhole = state.view.high - state.view.low >= 0.999 * (wholeView().high - wholeView().low);
  change({ axis: name, lanesWithin: 0 });
  if (isWhole) lookAt(wholeView().low, wholeView().high);
  else lookAt(axis()[from], axis()[to]);
}

/** Round distances for marks on an axis: at least `least` apart. */
const TIME_STEPS = [
  1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 15000, 30000, 60000, 120000, 300000, 600000, 900000,
  1800000, 3600000, 7200000, 10800000, 21600000, 43200000, 86400000,
];
function timeStep(least) {
  const day = 86400000;
  return TIME_STEPS.find((step) => step >= least) || day * roundStep(least / day);
}
function roundStep(least) {
  const power = 10 ** Math.floor(Math.log10(Math.max(least, 1)));
  return [1, 2, 5, 10].map((digit) => digit * power).find((step) => step >= least);
}
