//! A client of the REST API. Every answer is read whole; a refusal becomes the words of its problem+json.

use crate::fault::{Fault, Result, failed, usage};
use engram_server::api::{CueIn, RecallIn, RecallManyOut, RecallOut};
use engram_server::{ApiError, ProblemOut};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;
use std::time::Duration;
use ureq::http::{Method, Request, Response, StatusCode};
use ureq::{Agent, Body};

/// Where a server listens that nobody configured.
const URL_DEFAULT: &str = "http://127.0.0.1:8080";
/// Names the server to those commands that are not told otherwise.
pub(crate) const URL_VARIABLE: &str = "ENGRAM_URL";
/// A server on the way to us answers a connection in this time, or it is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The server gives up by itself after `limits.request_timeout_s`, at most an hour; this is for one that hangs.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3700);
/// The largest answer is a page of 1,000 memories with vectors of 4,096 numbers.
const ANSWER_BYTES_MAX: u64 = 256 << 20;
/// Of an answer that is not Engram's, so much is shown.
const FOREIGN_CHARS_MAX: usize = 200;

const JSON: &str = "application/json";
const BYTES: &str = "application/octet-stream";

/// A server and how to reach it.
pub(crate) struct Remote {
    agent: Agent,
    /// Without a slash at the end.
    url: String,
    authorization: Option<String>,
}

impl Remote {
    /// The server at `url`, or `ENGRAM_URL`, or on this machine.
    pub(crate) fn new(url: Option<&str>) -> Result<Self> {
        let url = url
            .map(str::to_owned)
            .or_else(|| variable(URL_VARIABLE))
            .unwrap_or_else(|| URL_DEFAULT.to_owned());
        let url = url.trim_end_matches('/').to_owned();
        let host = match url.parse::<ureq::http::Uri>() {
            Ok(uri) if matches!(uri.scheme_str(), Some("http" | "https")) && uri.query().is_none() => {
                uri.host().unwrap_or_default().to_owned()
            }
            _ => return usage(format!("\"{url}\" is no address of a server; write it as {URL_DEFAULT}")),
        };
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_recv_response(Some(ANSWER_TIMEOUT))
            .user_agent(concat!("engram/", env!("CARGO_PKG_VERSION")));
        // A proxy of the environment stands between this machine and others, never between it and itself.
        if ["localhost", "127.0.0.1", "[::1]"].contains(&host.as_str()) {
            config = config.proxy(None);
        }
        let authorization = variable("ENGRAM_API_KEY").map(|key| format!("Bearer {key}"));
        Ok(Self { agent: config.build().into(), url, authorization })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Values of `query` need no escaping: they are numbers and cursors.
    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str, query: &[(&str, &str)]) -> Result<T> {
        let query: Vec<String> = query.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let path = if query.is_empty() { path.to_owned() } else { format!("{path}?{}", query.join("&")) };
        self.read(self.send(Method::GET, &path, None)?)
    }

    pub(crate) fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T> {
        self.read(self.send(Method::POST, path, Some((JSON, json(body))))?)
    }

    /// Recalls by all cues, in their order; all fail where one does.
    pub(crate) fn recall_many(&self, space: &str, cues: Vec<CueIn>) -> Result<Vec<RecallOut>> {
        let asked = cues.len();
        let recalled: RecallManyOut = self.post(&format!("spaces/{space}/recall"), &RecallIn::many(cues))?;
        if recalled.replies.len() != asked {
            return failed(format!("{asked} cues were asked, and {} answered", recalled.replies.len()));
        }
        Ok(recalled.replies)
    }

    /// Numbers as bytes, to those paths that take them.
    pub(crate) fn post_numbers<T: DeserializeOwned>(&self, path: &str, numbers: &[f32]) -> Result<T> {
        let bytes = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        self.read(self.send(Method::POST, path, Some((BYTES, bytes)))?)
    }

    pub(crate) fn put<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T> {
        self.read(self.send(Method::PUT, path, Some((JSON, json(body))))?)
    }

    pub(crate) fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.read(self.send(Method::DELETE, path, None)?)
    }

    fn send(&self, method: Method, path: &str, body: Option<(&str, Vec<u8>)>) -> Result<Response<Body>> {
        let mut request = Request::builder().method(method).uri(format!("{}/api/v1/{path}", self.url));
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        let sent = match body {
            None => request.body(()).map(|request| self.agent.run(request)),
            Some((kind, bytes)) => {
                request.header("content-type", kind).body(bytes).map(|request| self.agent.run(request))
            }
        };
        match sent {
            Ok(answer) => answer.map_err(|error| self.unreachable(&error)),
            Err(error) => usage(format!("the address or ENGRAM_API_KEY cannot be sent: {error}")),
        }
    }

    /// An answer that is bytes.
    pub(crate) fn get_bytes(&self, path: &str) -> Result<Vec<u8>> {
        self.body(self.send(Method::GET, path, None)?).map(|(_, body)| body)
    }

    fn read<T: DeserializeOwned>(&self, answer: Response<Body>) -> Result<T> {
        let (status, body) = self.body(answer)?;
        serde_json::from_slice(&body).map_err(|_| self.foreign(status.as_str(), &body))
    }

    /// What comes with an answer that is no refusal.
    fn body(&self, answer: Response<Body>) -> Result<(StatusCode, Vec<u8>)> {
        let status = answer.status();
        let body = answer.into_body().into_with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
        let body = body.map_err(|error| self.unreachable(&error))?;
        if !status.is_success() {
            let problem: Option<ProblemOut> = serde_json::from_slice(&body).ok();
            return match problem {
                Some(problem) => Err(ApiError::from(problem).into()),
                None => Err(self.foreign(status.as_str(), &body)),
            };
        }
        Ok((status, body))
    }

    fn foreign(&self, status: &str, body: &[u8]) -> Fault {
        let text: String =
            crate::screen::one_line(&String::from_utf8_lossy(body)).chars().take(FOREIGN_CHARS_MAX).collect();
        Fault::Unreachable(format!(
            "{} answers as no Engram of this version does ({status}); does --url name another program?\n{text}",
            self.url
        ))
    }

    fn unreachable(&self, error: &ureq::Error) -> Fault {
        let why = match error {
            ureq::Error::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                "connection refused".to_owned()
            }
            ureq::Error::Io(error) => error.to_string(),
            other => other.to_string(),
        };
        let hint = if self.url.starts_with("https:") {
            "\nIt is asked over https, and `engram serve` speaks http; https is for a proxy before it."
        } else {
            ""
        };
        Fault::Unreachable(format!(
            "no server answers at {}: {why}{hint}\n\
             Start one with `engram serve`, name another with --url or ENGRAM_URL, or work on a folder with --data-dir.",
            self.url
        ))
    }
}

/// A variable of the environment that says something.
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn json(body: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(body).expect("wire types have text keys only")
}
