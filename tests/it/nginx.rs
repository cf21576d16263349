//! An nginx of a test's own, where there is one to be had.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::footage::run;
use crate::harness::PATIENCE;
use crate::process::{Program, Running, find, say, setting};

/// An nginx that runs, and what it has written.
pub(crate) struct Nginx {
    _running: Running,
    pub(crate) directory: TempDir,
}

/// Where a program is that stands before the server; nothing, with the reason said, where it is not to be had.
pub(crate) fn peer(name: &str) -> Option<PathBuf> {
    let wanted = setting("RESTREAMER_TEST_PEERS");
    if wanted.as_ref().is_some_and(|wanted| wanted == "0") {
        say(&format!("not tested with {name}: RESTREAMER_TEST_PEERS is 0"));
        return None;
    }
    // Daemons may be where the path of users does not lead.
    let sbin = || Some(Path::new("/usr/sbin").join(name)).filter(|path| path.exists());
    let found = find(name).or_else(sbin);
    if found.is_none() {
        assert!(wanted.is_none(), "{name} is not installed, and RESTREAMER_TEST_PEERS asks for it");
        say(&format!("not tested with {name}: it is not installed"));
    }
    found
}

/// A port that nothing listens at.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).and_then(|free| free.local_addr()).expect("a free port").port()
}

/// A key and a certificate for it in `directory`: their paths. `None` where there is no openssl.
pub(crate) fn certificate(directory: &Path) -> Option<(String, String)> {
    peer("openssl")?;
    let [key, cert] = ["key", "cert"].map(|name| directory.join(name).display().to_string());
    let request = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost"];
    let made = run("openssl", &[&request[..], &["-keyout", &key, "-out", &cert]].concat());
    assert!(made.status.success(), "{made:?}");
    Some((key, cert))
}

impl Nginx {
    /// Starts it with `config` in its block `http`, and waits until it listens at `port`.
    pub(crate) fn start(nginx: &Path, directory: TempDir, config: &str, port: u16) -> Self {
        let dir = directory.path().display();
        let paths: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {dir}/{name};\n"))
            .concat();
        // Its workers give up being root, and could not read what is root's here.
        let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
        let whole = format!(
            "daemon off; worker_processes 1; {user} pid {dir}/pid; error_log {dir}/error.log;\nevents {{ }}\n\
             http {{ access_log off;\n{paths}{config} }}\n"
        );
        let path = directory.path().join("nginx.conf");
        fs::write(&path, whole).expect("its configuration");
        let errors = directory.path().join("error.log");
        let running = Program::new(nginx).args([Path::new("-e"), &errors, Path::new("-c"), &path]).start();
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let goes_on = !running.has_ended() && begun.elapsed() < PATIENCE;
            assert!(goes_on, "nginx does not listen: {:?}", running.wait());
            std::thread::sleep(Duration::from_millis(10));
        }
        Self { _running: running, directory }
    }
}
