//! `kms-mock explain`: why a request to a running server ended as it did.
//!
//! Asks the management port, so the server must have been started with
//! `--management`.

use std::{process::ExitCode, time::Duration};

use anyhow::{Context, bail};
use bytes::Bytes;
use http::{Request, header::HOST};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use kms_mock::Explanation;
use tokio::net::TcpStream;
use url::Url;

/// An explanation of the longest policy has some hundred kilobytes.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);

/// Options of `kms-mock explain`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The `x-amzn-RequestId` of an answer.
    request_id: String,
    /// The server's management port.
    #[arg(
        long,
        default_value = "http://127.0.0.1:4567",
        value_name = "URL",
        env = "KMS_MOCK_MANAGEMENT"
    )]
    management: Url,
    /// Print JSON instead of text.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let id = &args.request_id;
    if !id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        bail!("`{id}` is not a request id: give the x-amzn-RequestId of an answer");
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the client")?;
    let asked = runtime.block_on(async {
        tokio::time::timeout(
            ANSWER_TIME_MAX,
            get(&args.management, &format!("/explain/{id}")),
        )
        .await
    });
    let (status, body) = asked.context("the management port did not answer")??;
    let json: serde_json::Value = serde_json::from_slice(&body)
        .with_context(|| format!("{} is not a management port of kms-mock", args.management))?;
    if status != 200 {
        bail!("{}", json["error"].as_str().unwrap_or("the server refused"));
    }
    if args.json {
        out(&serde_json::to_string_pretty(&json)?);
    } else {
        out(Explanation::from_json(json).to_string().trim_end());
    }
    Ok(ExitCode::SUCCESS)
}

async fn get(management: &Url, path: &str) -> anyhow::Result<(u16, Bytes)> {
    let (Some(host), "http") = (management.host_str(), management.scheme()) else {
        bail!("{management} is not a management port's URL: give one like http://127.0.0.1:4567");
    };
    let port = management.port_or_known_default().unwrap_or(80);
    let stream = TcpStream::connect((host, port)).await.with_context(|| {
        format!(
            "no server at {management}; start it with `kms-mock serve --management {host}:{port}`"
        )
    })?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let request = Request::get(path)
        .header(HOST, format!("{host}:{port}"))
        .body(Empty::<Bytes>::new())?;
    let answer = sender.send_request(request).await?;
    let status = answer.status().as_u16();
    let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX)
        .collect()
        .await
        .map_err(|error| anyhow::anyhow!("reading the answer: {error}"))?
        .to_bytes();
    connection.abort();
    Ok((status, body))
}

#[allow(clippy::print_stdout)] // what this verb is for
fn out(text: &str) {
    println!("{text}");
}
