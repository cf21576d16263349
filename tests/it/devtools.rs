//! The `DevTools` protocol, by which Chromium is driven: JSON messages over a WebSocket (RFC 6455).
//! <https://chromedevtools.github.io/devtools-protocol/>

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;

use serde_json::{Value, json};

use crate::browsers::Remote;
use crate::harness::{connect, received};

/// A connection with a session of the page.
pub(crate) struct DevTools {
    stream: BufReader<TcpStream>,
    session: Option<String>,
    last_id: u64,
    /// Events that were received before a response.
    events: Vec<Value>,
}

impl DevTools {
    /// Connects to a browser of this machine. `endpoint` is the content of its file `DevToolsActivePort`: the port in one
    /// line, and the path of the WebSocket in the next.
    pub(crate) fn connect(endpoint: &str) -> Self {
        let (port, path) = endpoint.split_once('\n').expect("a port and a path");
        let stream = connect(([127, 0, 0, 1], port.parse::<u16>().expect("a port")).into());
        let mut devtools =
            Self { stream: BufReader::new(stream), session: None, last_id: 0, events: Vec::new() };
        devtools.shake_hands(port, path.trim());
        let targets = devtools.command("Target.getTargets", &json!({}));
        let targets = targets["targetInfos"].as_array().expect("targets");
        let page = targets.iter().find(|target| target["type"] == "page").expect("a page");
        let attach = json!({"targetId": page["targetId"], "flatten": true});
        let attached = devtools.command("Target.attachToTarget", &attach);
        devtools.session = attached["sessionId"].as_str().map(str::to_owned);
        devtools.command("Page.enable", &json!({}));
        devtools.command("Page.setLifecycleEventsEnabled", &json!({"enabled": true}));
        devtools.command("Runtime.enable", &json!({}));
        devtools.command("Log.enable", &json!({}));
        devtools
    }

    /// Saves files to a directory, and asks nobody.
    pub(crate) fn save_downloads(&mut self, directory: &Path) {
        let parameters = json!({"behavior": "allow", "downloadPath": directory});
        self.command("Browser.setDownloadBehavior", &parameters);
    }

    fn shake_hands(&mut self, port: &str, path: &str) {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        );
        self.stream.get_mut().write_all(request.as_bytes()).expect("send a request");
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let read = received(self.stream.read_line(&mut head), "a response of Chromium");
            assert!(read > 0, "the connection ended after {head:?}");
        }
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    }

    /// Sends a command and waits for its result.
    fn command(&mut self, name: &str, parameters: &Value) -> Value {
        self.last_id += 1;
        let mut message = json!({"id": self.last_id, "method": name, "params": parameters});
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        self.send(message.to_string().as_bytes());
        loop {
            let mut message = self.receive();
            if message["id"] == self.last_id {
                assert!(message["error"].is_null(), "{name}: {message}");
                return message["result"].take();
            }
            self.events.push(message);
        }
    }

    /// Sends a text message as one frame. The mask of a client's frame may be zero, which leaves the text as it is.
    fn send(&mut self, message: &[u8]) {
        let length = u64::try_from(message.len()).expect("a short message");
        let mut frame = vec![0x81, 0x80 | 127];
        frame.extend(length.to_be_bytes());
        frame.extend([0; 4]);
        frame.extend(message);
        self.stream.get_mut().write_all(&frame).expect("send a message");
    }

    /// Receives a text message, which Chromium sends as one frame.
    fn receive(&mut self) -> Value {
        let mut head = [0; 2];
        received(self.stream.read_exact(&mut head), "a message of Chromium");
        assert_eq!(head[0], 0x81, "a frame with a whole text message");
        let length = match head[1] {
            length @ 0..=125 => u64::from(length),
            extended => {
                let mut bytes = [0; 8];
                let from = if extended == 126 { 6 } else { 0 };
                received(self.stream.read_exact(&mut bytes[from..]), "a message of Chromium");
                u64::from_be_bytes(bytes)
            }
        };
        let mut message = vec![0; usize::try_from(length).expect("a short message")];
        received(self.stream.read_exact(&mut message), "a message of Chromium");
        serde_json::from_slice(&message).expect("a message in JSON")
    }
}

impl Remote for DevTools {
    fn open(&mut self, url: &str) {
        self.events.clear();
        let navigation = self.command("Page.navigate", &json!({"url": url}));
        assert!(navigation["errorText"].is_null(), "{url}: {navigation}");
        let is_loaded = |event: &Value| {
            let event = &event["params"];
            event["loaderId"] == navigation["loaderId"] && event["name"] == "load"
        };
        while !self.events.iter().any(is_loaded) {
            let event = self.receive();
            self.events.push(event);
        }
    }

    fn run(&mut self, body: &str) -> Result<Value, String> {
        let expression = format!("(async () => {{ {body} }})()");
        let parameters = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let mut evaluated = self.command("Runtime.evaluate", &parameters);
        match evaluated.get("exceptionDetails") {
            Some(details) => Err(details["exception"]["description"].as_str().unwrap_or("").to_owned()),
            None => Ok(evaluated["result"]["value"].take()),
        }
    }

    fn call(&mut self, body: &str) -> Result<Value, String> {
        self.run(body)
    }

    fn press(&mut self, key: &str) {
        let text = if key == "Enter" { "\r" } else { key };
        let mut down = json!({"type": "keyDown", "key": key});
        if text.chars().count() == 1 {
            down["text"] = json!(text);
        }
        self.command("Input.dispatchKeyEvent", &down);
        self.command("Input.dispatchKeyEvent", &json!({"type": "keyUp", "key": key}));
    }

    fn become_phone(&mut self) {
        let size = json!({"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": true});
        self.command("Emulation.setDeviceMetricsOverride", &size);
        self.command("Emulation.setTouchEmulationEnabled", &json!({"enabled": true}));
    }

    fn tap(&mut self, x: f64, y: f64) {
        let point = json!({"type": "touchStart", "touchPoints": [{"x": x, "y": y}]});
        self.command("Input.dispatchTouchEvent", &point);
        self.command("Input.dispatchTouchEvent", &json!({"type": "touchEnd", "touchPoints": []}));
    }

    fn problems(&mut self) -> Vec<String> {
        // What was reported before an answer has come with it.
        self.command("Page.enable", &json!({}));
        let is_problem = |event: &&Value| match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => true,
            Some("Runtime.consoleAPICalled") => event["params"]["type"] == "error",
            Some("Log.entryAdded") => event["params"]["entry"]["level"] == "error",
            _ => false,
        };
        self.events.iter().filter(is_problem).map(Value::to_string).collect()
    }
}
