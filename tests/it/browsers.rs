//! Headless browsers, driven by their own protocols behind one interface: Chromium by the `DevTools` protocol, Firefox by
//! Marionette. A browser has its files in a temporary directory and its processes in one group; both go with it.

use std::fs::{self, DirEntry};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::devtools::DevTools;
use crate::harness::wait_until;
use crate::marionette::Marionette;
use crate::nginx::peer;
use crate::process::{Program, Running};

/// Where browsers save files, in the directory of their profile.
const DOWNLOADS: &str = "downloads";

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

    /// The same for a page whose policy forbids `eval`. The function sees the document, but not the names of the page's
    /// scripts.
    fn call(&mut self, body: &str) -> Result<Value, String>;

    /// Presses and releases a key: a character, or a name such as `Enter`.
    fn press(&mut self, key: &str);

    /// Has the size of a phone, and is touched, if the browser can do that.
    fn become_phone(&mut self) {}

    /// Touches the page.
    fn tap(&mut self, _x: f64, _y: f64) {}

    /// What the browser has reported about the page since it was opened: exceptions, errors, violations of its policy.
    fn problems(&mut self) -> Vec<String>;
}

/// What starts a browser; `None`, with the reason printed, if it is not installed or not wanted.
pub(crate) type Start = fn() -> Option<Browser>;

impl Browser {
    pub(crate) fn chromium() -> Option<Self> {
        let program = peer("chromium")?;
        let profile = tempfile::tempdir().expect("a temporary directory");
        let running = start_chromium(&program, profile.path(), "about:blank");
        let port = port(&running, &profile.path().join("DevToolsActivePort"));
        let mut devtools = DevTools::connect(&port);
        devtools.save_downloads(&profile.path().join(DOWNLOADS));
        Some(Self::new("Chromium", Box::new(devtools), running, profile))
    }

    pub(crate) fn firefox() -> Option<Self> {
        let program = peer("firefox-esr")?;
        let profile = tempfile::tempdir().expect("a temporary directory");
        let downloads = profile.path().join(DOWNLOADS);
        let downloads = format!("user_pref('browser.download.dir', '{}');\n", downloads.display());
        let preferences = format!("{FIREFOX_PREFERENCES}{downloads}");
        fs::write(profile.path().join("user.js"), preferences).expect("write its preferences");
        let running = Program::new(program)
            .args(["--headless", "--marionette", "--no-remote", "--profile"])
            .args([profile.path()])
            // The page that it shows at first is privileged, and cannot be left.
            .args(["about:blank"])
            .env("HOME", profile.path())
            .env("TMPDIR", profile.path())
            .env("MOZ_CRASHREPORTER_DISABLE", "1")
            // As large as Chromium.
            .env("MOZ_HEADLESS_WIDTH", "800")
            .env("MOZ_HEADLESS_HEIGHT", "600")
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

    /// The same for a page whose policy forbids `eval`: see [`Remote::call`].
    pub(crate) fn call(&mut self, body: &str) -> Value {
        let result = self.remote.call(body);
        result.unwrap_or_else(|error| panic!("in {}, `{body}`: {error}", self.name))
    }

    /// Presses keys, each a character or a name such as `Enter`.
    pub(crate) fn press<'a>(&mut self, keys: impl IntoIterator<Item = &'a str>) {
        for key in keys {
            self.remote.press(key);
        }
    }

    /// Has the size of a phone.
    pub(crate) fn become_phone(&mut self) {
        self.remote.become_phone();
    }

    /// Touches the page.
    pub(crate) fn tap(&mut self, x: f64, y: f64) {
        self.remote.tap(x, y);
    }

    /// What the browser has reported about the page since it was opened.
    pub(crate) fn problems(&mut self) -> Vec<String> {
        self.remote.problems()
    }

    /// Waits for a file that the page saves, and takes it away: its path until the next one is taken.
    pub(crate) fn downloaded(&self) -> PathBuf {
        let profile = self.profile.as_ref().expect("it has a profile").path();
        let mut found = None;
        wait_until("a file is saved", || {
            let entries: Vec<_> =
                fs::read_dir(profile.join(DOWNLOADS)).into_iter().flatten().flatten().collect();
            let is_complete = |path: &Path| path.extension().is_some_and(|end| end == "mp4" || end == "png");
            // Firefox makes an empty file of the name first, and both write to one of another name.
            let paths: Vec<_> = entries.iter().map(DirEntry::path).collect();
            let is_done =
                paths.iter().all(|path| is_complete(path) && path.metadata().is_ok_and(|of| of.len() > 0));
            found = paths.first().filter(|_| is_done).cloned();
            found.is_some()
        });
        let (found, taken) = (found.expect("a file"), profile.join("taken"));
        fs::rename(found, &taken).expect("take the file away");
        taken
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

/// Preferences of Firefox besides those that Marionette sets by itself. It draws thirty times a second, and starts no
/// processes for pages that may come.
const FIREFOX_PREFERENCES: &str = "\
    user_pref('marionette.port', 0);
    user_pref('media.autoplay.default', 0);
    user_pref('browser.download.folderList', 2);
    user_pref('layout.frame_rate', 30);
    user_pref('dom.ipc.processPrelaunch.enabled', false);
    user_pref('fission.autostart', false);
    user_pref('dom.ipc.processCount', 1);
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
