//! The real program, to be killed, and a client that notices.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
};

use nsm_sim::clock::{Clock, SettableClock};
use serde_json::Value;

use super::ACCOUNT;

/// `kms-mock serve` with this data directory.
pub(super) fn serve(data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kms-mock"));
    command
        .args(["serve", "--bind", "127.0.0.1:0", "--data-dir"])
        .arg(data);
    command
}

/// The same command after `script`, with its words as `"$@"`.
pub(super) fn after(script: &str, command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &format!("{script}; exec \"$@\""), "sh"])
        .arg(command.get_program())
        .args(command.get_args());
    shell
}

/// What a start that must fail says.
pub(super) fn why_not(command: &mut Command) -> String {
    let mut process = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let stdout = process.stdout.take().unwrap();
    if BufReader::new(stdout).read_line(&mut line).unwrap() > 0 {
        process.kill().unwrap();
        process.wait().unwrap();
        panic!("it started: {line}");
    }
    let ended = process.wait_with_output().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{said}");
    said
}

pub(super) struct Server {
    process: Child,
    address: String,
    /// Of the management port, if there is one.
    management: Option<String>,
    /// Open as long as the server may print.
    _banner: BufReader<ChildStdout>,
}

impl Server {
    pub(super) fn start(data: &Path) -> Self {
        Self::run(&mut serve(data))
    }

    pub(super) fn run(command: &mut Command) -> Self {
        let mut process = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut banner = BufReader::new(process.stdout.take().unwrap());
        let (mut address, mut management) = (None, None);
        for line in banner.by_ref().lines().map_while(Result::ok) {
            if let Some(it) = line.strip_prefix("export AWS_ENDPOINT_URL=http://") {
                address = Some(it.to_owned());
            }
            if let Some(it) = line.strip_prefix("management:     http://") {
                management = it.split(' ').next().map(str::to_owned);
            }
            if line.starts_with("Stop with Ctrl-C") {
                break;
            }
        }
        let Some(address) = address else {
            let mut why = String::new();
            let mut stderr = process.stderr.take().unwrap();
            stderr.read_to_string(&mut why).unwrap();
            panic!("the server did not start: {why}");
        };
        Self {
            process,
            address,
            management,
            _banner: banner,
        }
    }

    /// SIGKILL, and until it is gone.
    pub(super) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }

    pub(super) fn client(&self) -> Client {
        Client::to(&self.address)
    }

    pub(super) fn management(&self) -> Client {
        Client::to(self.management.as_ref().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// One connection.
pub(super) struct Client {
    stream: BufReader<TcpStream>,
    host: String,
}

impl Client {
    fn to(address: &str) -> Self {
        Self {
            stream: BufReader::new(TcpStream::connect(address).unwrap()),
            host: address.to_owned(),
        }
    }

    /// Status and body, or `None` when the server is gone.
    pub(super) fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &str,
        body: &str,
    ) -> Option<(u16, String)> {
        let service = match headers {
            _ if headers.contains("TrentService") => "kms",
            _ if headers.contains("www-form-urlencoded") => "iam",
            _ => "s3",
        };
        // Nobody verifies the signature, but its date must be today's.
        let now = SettableClock::running()
            .now()
            .to_string()
            .replace(['-', ':'], "");
        let day = &now[..8];
        let credential = format!("{ACCOUNT}/{day}/us-east-1/{service}/aws4_request");
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nx-amz-date: {now}\r\n{headers}authorization: AWS4-HMAC-SHA256 \
             Credential={credential}, SignedHeaders=host, Signature={}\r\n\
             content-length: {}\r\n\r\n{body}",
            self.host,
            "0".repeat(64),
            body.len()
        );
        self.stream.get_mut().write_all(request.as_bytes()).ok()?;
        let mut line = String::new();
        if self.stream.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let status = line.split(' ').nth(1)?.parse().ok()?;
        let mut length = 0;
        loop {
            line.clear();
            if self.stream.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let header = line.trim().to_ascii_lowercase();
            if let Some(value) = header.strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
            if header.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).ok()?;
        Some((status, String::from_utf8(body).unwrap()))
    }

    pub(super) fn kms(&mut self, operation: &str, body: &Value) -> Option<(u16, Value)> {
        let headers = format!(
            "content-type: application/x-amz-json-1.1\r\nx-amz-target: TrentService.{operation}\r\n"
        );
        let (status, body) = self.send("POST", "/", &headers, &body.to_string())?;
        Some((status, serde_json::from_str(&body).unwrap_or(Value::Null)))
    }

    /// The answer of a call that must succeed on a server that must be there.
    pub(super) fn ok(&mut self, operation: &str, body: &Value) -> Value {
        let (status, answer) = self.kms(operation, body).expect("the server is there");
        assert_eq!(status, 200, "{operation} {body}: {answer}");
        answer
    }

    /// The answer to a form of IAM.
    pub(super) fn iam(&mut self, form: &str) -> String {
        let headers = "content-type: application/x-www-form-urlencoded\r\n";
        let form = format!("{form}&Version=2010-05-08");
        let (status, answer) = self.send("POST", "/", headers, &form).unwrap();
        assert_eq!(status, 200, "{form}: {answer}");
        answer
    }

    /// The answer of S3, status and text.
    pub(super) fn s3(&mut self, method: &str, path: &str, body: &str) -> (u16, String) {
        self.send(method, path, "", body).unwrap()
    }
}
