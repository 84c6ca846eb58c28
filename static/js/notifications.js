// Shows a notification of the browser when a job has ended, while any page is open: only after the user has switched it on, and by
// one tab at a time.
const PERIOD = 15_000; // milliseconds between two questions
const MANY = 3; // more jobs at once are one notification
const [ON, SINCE] = ["notifications", "notifications-since"]; // kept in localStorage
const supported = "Notification" in window && "locks" in navigator; // neither exists without https
const button = document.getElementById("notifications");
const isOn = () => Notification.permission === "granted" && localStorage.getItem(ON) === "on";
const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

function show() {
  if (!button) return;
  button.hidden = false;
  button.lastChild.data = isOn() ? "Notifications on" : "Notify me";
}

function notify(title, body, tag, path) {
  const shown = new Notification(title, { body, tag });
  shown.addEventListener("click", () => {
    shown.close();
    window.focus();
    window.open(path); // not in this tab, where something may be half written
  });
}

function tell({ id, kind, status, prompt }) {
  if (document.hasFocus() && document.getElementById(`job-${id}`)) return; // the user sees it
  const name = kind[0].toUpperCase() + kind.slice(1);
  notify(status === "completed" ? `${name} is ready` : `${name} failed`, prompt, id, `/jobs/${id}`);
}

async function ask() {
  const since = localStorage.getItem(SINCE);
  const query = since ? `?since=${encodeURIComponent(since)}` : "";
  const response = await fetch(`/jobs/ended${query}`, { redirect: "manual" });
  if (!response.ok) return;
  const { until, jobs } = await response.json();
  localStorage.setItem(SINCE, until);
  if (jobs.length > MANY) notify(`${jobs.length} jobs have ended`, "", until, "/jobs");
  else jobs.forEach(tell);
}

function watch() {
  navigator.locks.request("notifications", async () => {
    while (isOn()) {
      await ask().catch(() => {}); // the server does not answer: the next question may be answered
      await pause(PERIOD);
    }
  });
}

async function toggle() {
  if (isOn()) localStorage.removeItem(ON);
  else if ((await Notification.requestPermission()) === "granted") {
    localStorage.setItem(ON, "on");
    localStorage.removeItem(SINCE);
    watch();
  } else {
    const value = "This browser blocks notifications. Allow them for this site in its settings.";
    document.dispatchEvent(new CustomEvent("notice", { detail: { value } }));
  }
  show();
}

if (supported) {
  show();
  button?.addEventListener("click", toggle);
  if (isOn()) watch();
}
