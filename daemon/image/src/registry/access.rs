//! How one repository is reached, where that differs from the settings: who asks, by which hosts, with what beside.

use super::Credentials;
use crate::error::{ImageError, Result};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{mpsc, oneshot};

/// Lines of a log that wait for their reader; what does not fit is lost and counted.
const LINES: usize = 256;

/// What a caller says of the way to one repository. The default says nothing.
#[derive(Debug, Clone, Default)]
pub struct Access {
    pub login: Login,
    /// Sent with every request to the registry itself.
    pub headers: HeaderMap,
    /// A directory of `HOST/hosts.toml` files (containerd's "registry configuration").
    pub host_dir: Option<PathBuf>,
    /// How a host is spoken to that no `hosts.toml` speaks of.
    pub scheme: Option<Scheme>,
    pub log: Option<WireLog>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    Http,
    Https,
}

impl Scheme {
    /// `None` for "".
    pub fn parse(text: &str) -> Result<Option<Self>> {
        match text {
            "" => Ok(None),
            "http" => Ok(Some(Self::Http)),
            "https" => Ok(Some(Self::Https)),
            other => Err(ImageError::Settings {
                detail: format!("scheme \"{other}\" must be http or https"),
            }),
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// Who we are.
#[derive(Debug, Clone, Default)]
pub enum Login {
    #[default]
    Anonymous,
    /// Told to the registry itself, never to a mirror.
    Known(Credentials),
    /// Asked for when a host wants them, for that host.
    Asked(mpsc::Sender<Question>),
}

impl From<Option<Credentials>> for Login {
    fn from(credentials: Option<Credentials>) -> Self {
        credentials.map_or(Self::Anonymous, Self::Known)
    }
}

/// A host wants to know who we are. Unanswered, we are nobody.
#[derive(Debug)]
pub struct Question {
    pub host: String,
    /// Its `WWW-Authenticate` lines.
    pub challenges: Vec<String>,
    pub answer: oneshot::Sender<gantry_core::Result<Option<Credentials>>>,
}

impl Access {
    pub fn with_login(login: impl Into<Login>) -> Self {
        Self {
            login: login.into(),
            ..Self::default()
        }
    }

    /// Reads headers by name; a bad one is an error that names it.
    pub fn with_headers(mut self, headers: &BTreeMap<String, String>) -> gantry_core::Result<Self> {
        for (name, value) in headers {
            let bad = || ImageError::Settings {
                detail: format!("header \"{name}\" is not a sound http header"),
            };
            let key = HeaderName::try_from(name.as_str()).map_err(|_| bad())?;
            self.headers
                .append(key, HeaderValue::from_str(value).map_err(|_| bad())?);
        }
        Ok(self)
    }
}

/// What is said on the wire, for somebody who looks for a fault. Secrets are left out. Who reads too slowly loses lines.
#[derive(Debug, Clone)]
pub struct WireLog {
    out: mpsc::Sender<Bytes>,
    /// Requests and answers with their headers.
    heads: bool,
    /// When what happened.
    times: bool,
    lost: Arc<AtomicU64>,
}

impl WireLog {
    pub fn new(heads: bool, times: bool) -> (Self, mpsc::Receiver<Bytes>) {
        let (out, lines) = mpsc::channel(LINES);
        let log = Self {
            out,
            heads,
            times,
            lost: Arc::default(),
        };
        (log, lines)
    }

    pub(super) fn head(&self, mark: char, first: &str, headers: &HeaderMap) {
        if !self.heads {
            return;
        }
        let mut text = format!("{mark} {first}\n");
        for (name, value) in headers {
            let secret = matches!(name.as_str(), "authorization" | "cookie" | "set-cookie");
            let value = match value.to_str() {
                _ if secret => "<redacted>",
                Ok(value) => value,
                Err(_) => "<not text>",
            };
            text.push_str(&format!("{mark} {name}: {value}\n"));
        }
        self.say(text);
    }

    pub(super) fn time(&self, what: &str, took: std::time::Duration) {
        if self.times {
            self.say(format!("* {what} after {} ms\n", took.as_millis()));
        }
    }

    fn say(&self, text: String) {
        let before = self.lost.swap(0, Ordering::Relaxed);
        let text = match before {
            0 => text,
            lost => format!("* {lost} entries of this log were lost: its reader is too slow\n{text}"),
        };
        if self.out.try_send(Bytes::from(text)).is_err() {
            self.lost.fetch_add(before + 1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_keeps_secrets_and_counts_what_it_lost() {
        let (log, mut lines) = WireLog::new(true, true);
        let mut headers = HeaderMap::new();
        headers.insert("authorization", HeaderValue::from_static("Basic c2VjcmV0"));
        headers.insert("accept", HeaderValue::from_static("x/y"));
        log.head('>', "GET https://a/v2/", &headers);
        let said = String::from_utf8(lines.try_recv().unwrap().to_vec()).unwrap();
        assert_eq!(
            said,
            "> GET https://a/v2/\n> authorization: <redacted>\n> accept: x/y\n"
        );
        for _ in 0..LINES + 3 {
            log.time("x", std::time::Duration::ZERO);
        }
        for _ in 0..LINES {
            lines.try_recv().unwrap();
        }
        log.time("y", std::time::Duration::ZERO);
        let said = String::from_utf8(lines.try_recv().unwrap().to_vec()).unwrap();
        assert!(said.starts_with("* 3 entries"), "{said}");
    }

    #[test]
    fn bad_headers_and_schemes_are_named() {
        let headers = BTreeMap::from([("a b".to_owned(), "x".to_owned())]);
        let error = Access::default().with_headers(&headers).unwrap_err();
        assert!(error.to_string().contains("\"a b\""), "{error}");
        assert!(Scheme::parse("ftp").is_err());
        assert_eq!(Scheme::parse("http").unwrap(), Some(Scheme::Http));
    }
}
