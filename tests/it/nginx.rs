//! Starts an nginx for a test, if nginx is installed.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::footage::run;
use crate::harness::PATIENCE;
use crate::process::{Program, Running, find, say, setting};

/// A running nginx and the directory of its files.
pub(crate) struct Nginx {
    _running: Running,
    pub(crate) directory: TempDir,
}

/// Queries of cuts that no proxy may take for those of rough cuts.
pub(crate) const NOT_ROUGH: [&str; 14] = [
    "",
    "type=full",
    "type=full&type=rough",
    "type=rough&type=full",
    "type&type=rough",
    "a=b;type=rough",
    "TYPE=rough",
    "type=ROUGH",
    "type=rough;",
    "type=rough%20",
    "%74ype=full&type=rough",
    "t%79pe&type=rough",
    "a=type=rough",
    "a?type=rough",
];

/// Those of them that no proxy may take for MP4 with a length.
pub(crate) const FULL: [&str; 6] = [
    "type=full",
    "type=full&type=rough",
    "type=rough&type=full",
    "type&type=rough",
    "%74ype=full&type=rough",
    "t%79pe&type=rough",
];

/// Queries of rough cuts.
pub(crate) const ROUGH: [&str; 3] = ["type=rough", "a=%26type&type=rough&b", "types=full&type=rough"];

/// Returns the path of a program that runs in front of the server. Returns `None` and prints why if it is not installed or
/// these tests are turned off.
pub(crate) fn peer(name: &str) -> Option<PathBuf> {
    let wanted = setting("RESTREAMER_TEST_PEERS");
    if wanted.as_ref().is_some_and(|wanted| wanted == "0") {
        say(&format!("not tested with {name}: RESTREAMER_TEST_PEERS is 0"));
        return None;
    }
    // The PATH of a user may lack the directory of daemons.
    let sbin = || Some(Path::new("/usr/sbin").join(name)).filter(|path| path.exists());
    let found = find(name).or_else(sbin);
    if found.is_none() {
        assert!(wanted.is_none(), "{name} is not installed, and RESTREAMER_TEST_PEERS requires it");
        say(&format!("not tested with {name}: it is not installed"));
    }
    found
}

/// Returns a port that no program listens on.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).and_then(|free| free.local_addr()).expect("a free port").port()
}

/// Creates a key and a certificate in `directory` and returns their paths. `None` without openssl.
pub(crate) fn certificate(directory: &Path) -> Option<(String, String)> {
    peer("openssl")?;
    let [key, cert] = ["key", "cert"].map(|name| directory.join(name).display().to_string());
    let request = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost"];
    let output = run("openssl", &[&request[..], &["-keyout", &key, "-out", &cert]].concat());
    assert!(output.status.success(), "{output:?}");
    Some((key, cert))
}

impl Nginx {
    /// Starts nginx with `config` in its `http` block, and waits until it listens on `port`.
    pub(crate) fn start(nginx: &Path, directory: TempDir, config: &str, port: u16) -> Self {
        let dir = directory.path().display();
        let paths: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {dir}/{name};\n"))
            .concat();
        // Workers drop root by default and could not read the files of this test.
        let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
        let whole = format!(
            "daemon off; worker_processes 1; {user} pid {dir}/pid; error_log {dir}/error.log;\nevents {{ }}\n\
             http {{ access_log off;\n{paths}{config} }}\n"
        );
        let path = directory.path().join("nginx.conf");
        fs::write(&path, whole).expect("write the configuration");
        let errors = directory.path().join("error.log");
        let running = Program::new(nginx).args([Path::new("-e"), &errors, Path::new("-c"), &path]).start();
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let is_starting = !running.has_ended() && started.elapsed() < PATIENCE;
            assert!(is_starting, "nginx does not listen: {:?}", running.wait());
            std::thread::sleep(Duration::from_millis(10));
        }
        Self { _running: running, directory }
    }
}
