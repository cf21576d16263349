//! Headless browsers, driven by their own protocols behind one interface: Chromium by the `DevTools` protocol, Firefox by
//! Marionette. A browser has its files in a temporary directory and its processes in one group; both go with it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::devtools::DevTools;
use crate::harness::wait_until;
use crate::marionette::Marionette;
use crate::nginx::peer;
use crate::process::{Program, Running};

/// A running browser with one page. Fields are dropped in this order: its processes end before its files are removed.
pub(crate) struct Browser {
    pub(crate) name: &'static str,
    remote: Box<dyn Remote>,
    running: Option<Running>,
    profile: Option<TempDir>,
}

/// The protocol that drives a browser.
pub(crate) trait Remote {
    /// Opens a page and waits until it is loaded.
    fn open(&mut self, url: &str);

    /// Runs the body of an async function in the page. Returns its result, or the text of what it throws.
    fn run(&mut self, body: &str) -> Result<Value, String>;
}

/// What starts a browser; `None`, with the reason printed, if it is not installed or not wanted.
pub(crate) type Start = fn() -> Option<Browser>;

impl Browser {
    pub(crate) fn chromium() -> Option<Self> {
        let program = peer("chromium")?;
        let profile = tempfile::tempdir().expect("a temporary directory");
        let running = start_chromium(&program, profile.path(), "about:blank");
        let port = port(&running, &profile.path().join("DevToolsActivePort"));
        Some(Self::new("Chromium", Box::new(DevTools::connect(&port)), running, profile))
    }

    pub(crate) fn firefox() -> Option<Self> {
        let program = peer("firefox-esr")?;
        let profile = tempfile::tempdir().expect("a temporary directory");
        fs::write(profile.path().join("user.js"), FIREFOX_PREFERENCES).expect("write its preferences");
        let running = Program::new(program)
            .args(["--headless", "--marionette", "--no-remote", "--profile"])
            .args([profile.path()])
            // The page that it shows at first is privileged, and cannot be left.
            .args(["about:blank"])
            .env("HOME", profile.path())
            .env("TMPDIR", profile.path())
            .env("MOZ_CRASHREPORTER_DISABLE", "1")
            .start();
        let port = port(&running, &profile.path().join("MarionetteActivePort"));
        Some(Self::new("Firefox", Box::new(Marionette::connect(&port)), running, profile))
    }

    fn new(name: &'static str, remote: Box<dyn Remote>, running: Running, profile: TempDir) -> Self {
        Self { name, remote, running: Some(running), profile: Some(profile) }
    }

    /// Opens a page and waits until it is loaded.
    pub(crate) fn open(&mut self, url: &str) {
        self.remote.open(url);
    }

    /// Runs the body of an async function in the page and returns its result. Panics with what it throws.
    pub(crate) fn run(&mut self, body: &str) -> Value {
        let result = self.remote.run(body);
        result.unwrap_or_else(|error| panic!("in {}, `{body}`: {error}", self.name))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        drop(self.running.take());
        // Only the first process is waited for. The others are killed too, but may still be writing.
        let profile = self.profile.take().map(TempDir::keep).expect("it has a profile");
        let is_removed = (0..500).any(|_| {
            let removed = fs::remove_dir_all(&profile);
            removed.is_ok() || {
                std::thread::sleep(Duration::from_millis(10));
                false
            }
        });
        assert!(is_removed || std::thread::panicking(), "{} is still being written", profile.display());
    }
}

/// Preferences of Firefox besides those that Marionette sets by itself.
const FIREFOX_PREFERENCES: &str = "\
    user_pref('marionette.port', 0);
    user_pref('media.autoplay.default', 0);
";

/// Starts Chromium with a page; its profile goes to the directory `profile`.
pub(crate) fn start_chromium(program: &Path, profile: &Path, url: &str) -> Running {
    // The built-in HLS player of current versions needs no switch.
    let options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--disable-dev-shm-usage",
        "--disable-breakpad",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--no-first-run",
        "--autoplay-policy=no-user-gesture-required",
        // Without this Chromium prints the page and exits.
        "--remote-debugging-port=0",
    ];
    Program::new(program)
        .args(options)
        .args([format!("--user-data-dir={}", profile.display())])
        .args([url])
        .env("HOME", profile)
        .env("TMPDIR", profile)
        .start()
}

/// Waits for the file in which a browser writes its port. Returns the content.
fn port(running: &Running, file: &Path) -> String {
    let mut content = String::new();
    wait_until("the browser listens", || {
        assert!(!running.has_ended(), "the browser has ended");
        content = fs::read_to_string(file).unwrap_or_default();
        !content.is_empty()
    });
    content
}
