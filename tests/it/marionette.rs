//! Marionette, the protocol by which Firefox is driven: JSON arrays over TCP, each with its length before it.
//! <https://firefox-source-docs.mozilla.org/testing/marionette/Protocol.html>

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::browsers::Remote;
use crate::harness::{PATIENCE, connect, received};

/// A connection with a session.
pub(crate) struct Marionette {
    stream: BufReader<TcpStream>,
    last_id: u64,
}

impl Marionette {
    /// Connects to a port of this machine and begins a session.
    pub(crate) fn connect(port: &str) -> Self {
        let port: u16 = port.trim().parse().expect("a port");
        let mut marionette =
            Self { stream: BufReader::new(connect(([127, 0, 0, 1], port).into())), last_id: 0 };
        let greeting = marionette.receive();
        assert_eq!(greeting["marionetteProtocol"], 3, "{greeting}");
        let patience = u64::try_from(PATIENCE.as_millis()).expect("a short time");
        let timeouts = json!({"timeouts": {"script": patience, "pageLoad": patience}});
        marionette.command("WebDriver:NewSession", &timeouts).expect("a session");
        marionette
    }

    /// Sends a command and waits for its response.
    fn command(&mut self, name: &str, parameters: &Value) -> Result<Value, String> {
        self.last_id += 1;
        let message = json!([0, self.last_id, name, parameters]).to_string();
        let framed = format!("{}:{message}", message.len());
        self.stream.get_mut().write_all(framed.as_bytes()).expect("send a command");
        let response = self.receive();
        assert_eq!((&response[0], &response[1]), (&json!(1), &json!(self.last_id)), "{name}: {response}");
        match &response[2] {
            Value::Null => Ok(response[3].clone()),
            error => Err(error["message"].as_str().unwrap_or_default().to_owned()),
        }
    }

    fn receive(&mut self) -> Value {
        let mut length = Vec::new();
        received(self.stream.read_until(b':', &mut length), "a response of Firefox");
        let text = length.strip_suffix(b":").and_then(|length| std::str::from_utf8(length).ok());
        let length = text.and_then(|length| length.parse().ok()).expect("the length of a message");
        let mut message = vec![0; length];
        received(self.stream.read_exact(&mut message), "a response of Firefox");
        serde_json::from_slice(&message).expect("a message in JSON")
    }
}

impl Remote for Marionette {
    fn open(&mut self, url: &str) {
        self.command("WebDriver:Navigate", &json!({"url": url})).expect("a page");
    }

    fn run(&mut self, body: &str) -> Result<Value, String> {
        // A script sees only properties of the window, not all names of the page.
        self.execute(&format!("window.eval({})", json!(format!("(async () => {{ {body} }})()"))))
    }

    fn call(&mut self, body: &str) -> Result<Value, String> {
        self.execute(&format!("(async () => {{ {body} }})()"))
    }

    fn press(&mut self, key: &str) {
        // https://www.w3.org/TR/webdriver2/#keyboard-actions
        let value = match key {
            "Enter" => "\u{e007}",
            "Tab" => "\u{e004}",
            "End" => "\u{e010}",
            "Home" => "\u{e011}",
            _ => key,
        };
        let presses = [json!({"type": "keyDown", "value": value}), json!({"type": "keyUp", "value": value})];
        let actions = json!({"actions": [{"type": "key", "id": "keyboard", "actions": presses}]});
        self.command("WebDriver:PerformActions", &actions).expect("press a key");
    }

    fn problems(&mut self) -> Vec<String> {
        // Marionette reports nothing by itself.
        Vec::new()
    }
}

impl Marionette {
    /// Runs an expression of a promise. The last argument of a script ends it.
    fn execute(&mut self, expression: &str) -> Result<Value, String> {
        let script = format!(
            "const end = arguments[0];
            {expression}.then(
                (value) => end(JSON.stringify({{value}})),
                (error) => end(JSON.stringify({{error: String(error)}})));"
        );
        let response =
            self.command("WebDriver:ExecuteAsyncScript", &json!({"script": script, "args": []}))?;
        let ended = response["value"].as_str().ok_or_else(|| response.to_string())?;
        let mut ended: Value = serde_json::from_str(ended).map_err(|error| error.to_string())?;
        match ended["error"].as_str() {
            Some(error) => Err(error.to_owned()),
            None => Ok(ended["value"].take()),
        }
    }
}
