//! A headless Chromium and one page in it, by the DevTools protocol over pipes: a message is JSON with a NUL behind it.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long anything that must happen on the page may take. Only a failure waits so long.
const DEADLINE: Duration = Duration::from_secs(60);
/// The names under which the browser is installed.
const BROWSERS: &str = "chromium-headless-shell chromium chromium-browser google-chrome";

/// A browser, ended with this.
pub(crate) struct Browser {
    child: Child,
    to: ChildStdin,
    from: Receiver<Value>,
    last: u64,
    session: String,
    /// What the page has complained of: errors that nobody caught, and refusals of its policy.
    pub(crate) complaints: Vec<String>,
    _profile: TempDir,
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It is a process of this test, and may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Browser {
    /// Starts it, with an empty page.
    pub(crate) fn start() -> Browser {
        let profile = tempfile::tempdir().unwrap();
        // The browser takes what it is told from descriptor 3 and answers on 4.
        let script = format!(
            "for name in {BROWSERS}; do command -v $name >/dev/null && exec $name \"$@\" 3<&0 4>&1 0</dev/null 1>/dev/null; done; exit 127"
        );
        let mut child = Command::new("sh")
            .args([
                "-c",
                &script,
                "sh",
                "--remote-debugging-pipe",
                "--no-sandbox",
                "--disable-gpu",
            ])
            .args([
                "--headless",
                "--no-first-run",
                "--hide-scrollbars",
                "--force-color-profile=srgb",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (sender, from) = sync_channel(1_024);
        let mut answers = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || {
            let mut message = Vec::new();
            while answers.read_until(0, &mut message).is_ok_and(|read| read > 0) {
                message.pop();
                let Ok(said) = serde_json::from_slice(&message) else {
                    return;
                };
                if sender.send(said).is_err() {
                    return;
                }
                message.clear();
            }
        });
        let mut browser = Browser {
            to: child.stdin.take().unwrap(),
            child,
            from,
            last: 0,
            session: String::new(),
            complaints: Vec::new(),
            _profile: profile,
        };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = browser.call("Target.attachToTarget", attach);
        browser.session = attached["sessionId"].as_str().unwrap().to_owned();
        for domain in ["Page", "Runtime", "Log", "Accessibility"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser
    }

    /// Calls a method of the protocol, which must succeed.
    pub(crate) fn call(&mut self, method: &str, params: Value) -> Value {
        let told = params.to_string();
        let said = self.try_call(method, params);
        said.unwrap_or_else(|error| panic!("{method} {told}: {error}"))
    }

    fn try_call(&mut self, method: &str, params: Value) -> Result<Value, Value> {
        self.last += 1;
        let mut message = json!({ "id": self.last, "method": method, "params": params });
        if !self.session.is_empty() {
            message["sessionId"] = self.session.clone().into();
        }
        let mut bytes = serde_json::to_vec(&message).unwrap();
        bytes.push(0);
        self.to
            .write_all(&bytes)
            .expect("the browser runs: install chromium-headless-shell");
        loop {
            let said = self.from.recv_timeout(DEADLINE).expect("the browser answers");
            if said["id"] == self.last {
                return match said["error"].is_null() {
                    true => Ok(said["result"].clone()),
                    false => Err(said["error"].clone()),
                };
            }
            self.note(&said);
        }
    }

    fn note(&mut self, said: &Value) {
        let params = &said["params"];
        match said["method"].as_str() {
            Some("Runtime.exceptionThrown") => self.complaints.push(params["exceptionDetails"].to_string()),
            // What the network refuses is part of the story; what the policy refuses is not.
            Some("Log.entryAdded") if params["entry"]["level"] == "error" && params["entry"]["source"] != "network" => {
                self.complaints.push(params["entry"].to_string());
            }
            _ => {}
        }
    }

    pub(crate) fn open(&mut self, address: &str) {
        self.call("Page.navigate", json!({ "url": address }));
        self.until("document.readyState === 'complete'");
    }

    /// The value of an expression, which may be a promise.
    pub(crate) fn eval(&mut self, expression: &str) -> Value {
        let ask = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let said = self.call("Runtime.evaluate", ask);
        assert!(said["exceptionDetails"].is_null(), "{expression}: {said}");
        said["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    #[track_caller]
    pub(crate) fn until(&mut self, expression: &str) {
        let started = Instant::now();
        let ask = json!({ "expression": format!("Boolean({expression})"), "returnByValue": true });
        // While a page is loaded there is none that could be asked.
        while self
            .try_call("Runtime.evaluate", ask.clone())
            .ok()
            .is_none_or(|said| said["result"]["value"] != true)
        {
            if started.elapsed() > DEADLINE {
                let text = self.eval("document.body.innerText");
                panic!(
                    "not within {DEADLINE:?}: {expression}\n{}",
                    text.as_str().unwrap_or_default()
                );
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until the element of a selector has this in its text.
    #[track_caller]
    pub(crate) fn says(&mut self, selector: &str, text: &str) {
        self.until(&format!(
            "document.querySelector({selector:?})?.innerText.includes({text:?})"
        ));
    }

    /// The text of the element of a selector.
    pub(crate) fn text(&mut self, selector: &str) -> String {
        let text = self.eval(&format!("document.querySelector({selector:?}).innerText"));
        text.as_str().unwrap_or_default().to_owned()
    }

    /// Presses the mouse on the first element of a selector, where it is seen.
    #[track_caller]
    pub(crate) fn click(&mut self, selector: &str) {
        self.until(&format!("document.querySelector({selector:?})"));
        let at = self.eval(&format!(
            "(() => {{ const one = document.querySelector({selector:?}); one.scrollIntoView({{ block: 'center' }}); \
             const at = one.getBoundingClientRect(); const x = at.x + at.width / 2, y = at.y + at.height / 2; \
             return one.contains(document.elementFromPoint(x, y)) ? [x, y] : null; }})()"
        ));
        assert!(!at.is_null(), "{selector} is covered by something else");
        for kind in ["mousePressed", "mouseReleased"] {
            let press = json!({ "type": kind, "x": at[0], "y": at[1], "button": "left", "clickCount": 1 });
            self.call("Input.dispatchMouseEvent", press);
        }
    }

    /// Presses a key.
    pub(crate) fn press(&mut self, key: &str, code: u32) {
        for kind in ["keyDown", "keyUp"] {
            let text = if key == "Enter" && kind == "keyDown" { "\r" } else { "" };
            let press = json!({ "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text });
            self.call("Input.dispatchKeyEvent", press);
        }
    }

    /// Types into what has the focus.
    pub(crate) fn insert(&mut self, text: &str) {
        self.call("Input.insertText", json!({ "text": text }));
    }

    /// Chooses an option of a select.
    pub(crate) fn choose(&mut self, selector: &str, value: &str) {
        self.eval(&format!(
            "(() => {{ const one = document.querySelector({selector:?}); one.value = {value:?}; \
             one.dispatchEvent(new Event('change')); return one.value === {value:?}; }})()"
        ));
    }

    /// How large the window is, and whether the system is dark.
    pub(crate) fn look(&mut self, width: u32, height: u32, dark: bool) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", size);
        let scheme = if dark { "dark" } else { "light" };
        let feature = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.call("Emulation.setEmulatedMedia", feature);
    }

    /// Writes a picture of what the window shows.
    pub(crate) fn picture(&mut self, file: &Path) {
        self.eval("window.scrollTo(0, 0)");
        let shot = self.call("Page.captureScreenshot", json!({ "format": "png" }));
        let png = BASE64.decode(shot["data"].as_str().unwrap()).unwrap();
        std::fs::write(file, png).unwrap();
    }

    /// What a screen reader cannot name: controls, by their role.
    pub(crate) fn unnamed(&mut self) -> Vec<String> {
        let tree = self.call("Accessibility.getFullAXTree", json!({}));
        let nodes = tree["nodes"].as_array().unwrap().iter();
        let controls = [
            "button",
            "link",
            "textbox",
            "searchbox",
            "combobox",
            "img",
            "region",
            "table",
            "dialog",
        ];
        let found = nodes.filter(|node| node["ignored"] != true).filter_map(|node| {
            let role = node["role"]["value"].as_str()?;
            let name = node["name"]["value"].as_str().unwrap_or_default();
            (controls.contains(&role) && name.trim().is_empty()).then(|| format!("{role} {}", node["backendDOMNodeId"]))
        });
        found.collect()
    }
}
