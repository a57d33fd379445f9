//! A request as handlers see it.

use crate::answer::Failure;
use crate::json::Wire;
use crate::routes::Route;
use crate::{Door, NEWEST, OLDEST, syntax};
use bytes::Bytes;
use gantry_core::{Error, ErrorKind};
use gantry_engine::{Engine, Filters};
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::upgrade::OnUpgrade;
use percent_encoding::percent_decode_str;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::mpsc;

/// Largest JSON body, in bytes.
const JSON_LIMIT: usize = 4 << 20;
/// How long a body may take that is not looked at.
pub const UNHEARD: Duration = Duration::from_secs(60);
/// How much of a small body is taken before it is refused, and how long.
const UNREAD_LIMIT: usize = 256 << 10;
const UNREAD: Duration = Duration::from_secs(5);
/// Chunks of a body that wait for the engine.
const CHUNKS: usize = 8;

/// A version of the API; newer is greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32);

impl Version {
    /// `1.41`; more digits after it are let pass, as Docker does.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let major = parts.next()?.parse().ok()?;
        let minor = parts.next().map_or(Some(0), |part| part.parse().ok())?;
        Some(Self(major, minor))
    }

    pub fn newest() -> Self {
        Self::parse(NEWEST).expect("our own version is one")
    }

    pub fn oldest() -> Self {
        Self::parse(OLDEST).expect("our own version is one")
    }
}

/// One request.
pub struct Call {
    pub door: Door,
    pub route: &'static Route,
    pub version: Version,
    pub params: BTreeMap<&'static str, String>,
    pub query: Query,
    pub headers: HeaderMap,
    pub body: Incoming,
    /// The connection, once it is the handler's.
    pub upgrade: Option<OnUpgrade>,
}

impl Call {
    pub fn engine(&self) -> &Engine {
        &self.door.engine
    }

    pub fn since(&self, minor: u32) -> bool {
        self.version >= Version(1, minor)
    }

    pub fn before(&self, minor: u32) -> bool {
        !self.since(minor)
    }

    /// A part of the path.
    pub fn param(&self, name: &str) -> &str {
        self.params.get(name).map(String::as_str).unwrap_or_default()
    }

    pub fn name(&self) -> &str {
        self.param("name")
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    /// The body as JSON. Without a body it is what nothing means, as Docker has it.
    pub async fn json<T: Wire>(&mut self) -> Result<T, Failure> {
        self.is_json().await?;
        match self.bytes(JSON_LIMIT).await? {
            bytes if bytes.is_empty() => Ok(T::default()),
            bytes => decode(&bytes),
        }
    }

    /// The same where there must be one.
    pub async fn must_json<T: Wire>(&mut self) -> Result<T, Failure> {
        self.is_json().await?;
        decode(&self.bytes(JSON_LIMIT).await?)
    }

    async fn is_json(&mut self) -> Result<(), Failure> {
        let given = self.header(CONTENT_TYPE.as_str()).to_owned();
        if given.is_empty() && self.body.is_end_stream() {
            return Ok(());
        }
        match given.split(';').next().map(str::trim) {
            Some("application/json") => Ok(()),
            _ => {
                discard(&mut self.body).await;
                Err(Failure::bad(format!(
                    "unsupported Content-Type header ({given}): must be 'application/json'"
                )))
            }
        }
    }

    pub async fn bytes(&mut self, limit: usize) -> Result<Bytes, Failure> {
        let body = Limited::new(&mut self.body, limit).collect().await;
        body.map(http_body_util::Collected::to_bytes)
            .map_err(|error| Failure::bad(format!("request body: {error}")))
    }

    /// The body as it comes. A client that breaks off is a failure in the channel, never a clean end.
    pub fn chunks(self) -> mpsc::Receiver<gantry_core::Result<Bytes>> {
        let (sender, chunks) = mpsc::channel(CHUNKS);
        let mut body = self.body;
        tokio::spawn(async move {
            while let Some(frame) = body.frame().await {
                let item = match frame {
                    Ok(frame) => frame.into_data().unwrap_or_default(),
                    Err(error) => {
                        let broken = Error::new(ErrorKind::Aborted, format!("the client broke off: {error}"));
                        let _ = sender.send(Err(broken)).await;
                        return;
                    }
                };
                if !item.is_empty() && sender.send(Ok(item)).await.is_err() {
                    return;
                }
            }
        });
        chunks
    }

    /// The `filters` of the query, if all are among those of the route.
    pub fn filters(&self) -> Result<Filters, Failure> {
        filters(self.query.text("filters"), &self.route.filters())
    }
}

/// Takes what comes of a body that nobody looks at: who still writes when the connection is closed never reads the answer.
pub async fn discard(body: &mut Incoming) {
    let taken = Limited::new(body, UNREAD_LIMIT).collect();
    let _ = tokio::time::timeout(UNREAD, taken).await;
}

fn decode<T: Wire>(bytes: &[u8]) -> Result<T, Failure> {
    let mut values = serde_json::Deserializer::from_slice(bytes).into_iter::<Value>();
    let bad = |message: String| Failure::bad(format!("invalid JSON: {message}"));
    let value = match values.next() {
        None => return Err(bad("got EOF while reading request body".to_owned())),
        Some(Ok(value)) => value,
        Some(Err(error)) => return Err(bad(complaint(&error, bytes))),
    };
    if values.next().is_some() {
        return Err(Failure::bad("unexpected content after JSON"));
    }
    T::read(value, "").map_err(bad)
}

/// In Go's words where its scanner gives up too.
fn complaint(error: &serde_json::Error, bytes: &[u8]) -> String {
    match syntax::complaint(bytes) {
        Some(told) => told,
        None if error.is_eof() => "unexpected EOF".to_owned(),
        None => error.to_string(),
    }
}

/// Filters in either form: `{"key": {"value": true}}` or `{"key": ["value"]}`.
fn filters(text: &str, known: &[&str]) -> Result<Filters, Failure> {
    if text.is_empty() {
        return Ok(Filters::default());
    }
    let odd = || Failure::bad("invalid filter");
    let map = match serde_json::from_str(text) {
        Ok(Value::Object(map)) => map,
        Ok(Value::Null) => return Ok(Filters::default()),
        _ => return Err(odd()),
    };
    let mut by_key = BTreeMap::new();
    for (key, values) in map {
        let values: Vec<String> = match values {
            Value::Object(set) => set.into_iter().map(|(value, _)| value).collect(),
            Value::Array(list) => list
                .into_iter()
                .map(|value| value.as_str().map(str::to_owned).ok_or_else(odd))
                .collect::<Result<_, _>>()?,
            Value::Null => Vec::new(),
            Value::Bool(_) | Value::Number(_) | Value::String(_) => return Err(odd()),
        };
        if !known.contains(&key.as_str()) {
            return Err(Failure::bad(format!("invalid filter '{key}'")));
        }
        if !values.is_empty() {
            by_key.insert(key, values);
        }
    }
    Ok(Filters(by_key))
}

/// What stands behind the question mark.
#[derive(Debug, Clone, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    pub fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (plain(key), plain(value))
        });
        Self(pairs.collect())
    }

    /// What of it is called so.
    pub fn only(mut self, keep: impl Fn(&str) -> bool) -> Self {
        self.0.retain(|(name, _)| keep(name));
        self
    }

    pub fn given(&self, key: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value.as_str())
    }

    /// The first of this name; empty if there is none.
    pub fn text(&self, key: &str) -> &str {
        self.given(key).unwrap_or_default()
    }

    pub fn all(&self, key: &str) -> Vec<String> {
        let of = self.0.iter().filter(|(name, _)| name == key);
        of.map(|(_, value)| value.clone()).collect()
    }

    /// Everything but nothing, `0`, `no`, `false` and `none` is yes.
    pub fn flag(&self, key: &str) -> bool {
        self.flag_or(key, false)
    }

    pub fn flag_or(&self, key: &str, default: bool) -> bool {
        let Some(value) = self.given(key) else { return default };
        !matches!(
            value.trim().to_ascii_lowercase().as_str(),
            "" | "0" | "no" | "false" | "none"
        )
    }

    /// A number in Go's eyes; nothing given is `None`.
    pub fn number(&self, key: &str) -> Result<Option<i64>, Failure> {
        match self.text(key) {
            "" => Ok(None),
            text => match text.parse() {
                Ok(number) => Ok(Some(number)),
                Err(_) => Err(Failure::bad(format!(
                    "strconv.Atoi: parsing \"{}\": invalid syntax",
                    text.escape_default()
                ))),
            },
        }
    }
}

fn plain(text: &str) -> String {
    let spaced = text.replace('+', " ");
    percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number() {
        assert!(Version::parse("1.9").unwrap() < Version::parse("1.24").unwrap());
        assert_eq!(Version::parse("1.41"), Some(Version(1, 41)));
        assert_eq!(Version::parse("x"), None);
        assert_eq!(Version::parse("1."), None);
    }

    #[test]
    fn queries() {
        let query = Query::parse("all=1&name=a%20b+c&size=None&t&t=5&n=x");
        assert!(query.flag("all") && !query.flag("size") && !query.flag("nothing"));
        assert_eq!(query.text("name"), "a b c");
        assert_eq!(query.all("t"), ["", "5"]);
        assert_eq!(
            query.number("n").unwrap_err().message,
            "strconv.Atoi: parsing \"x\": invalid syntax"
        );
    }

    #[test]
    fn filters_in_both_forms() {
        let new = filters(r#"{"label":{"a":true,"b":true}}"#, &["label"]).unwrap();
        let old = filters(r#"{"label":["a","b"]}"#, &["label"]).unwrap();
        assert_eq!(new, old);
        assert_eq!(filters("", &[]).unwrap(), Filters::default());
        assert_eq!(
            filters(r#"{"x":["a"]}"#, &["label"]).unwrap_err().message,
            "invalid filter 'x'"
        );
        for bad in ["{", "[]", r#"{"label":5}"#, r#"{"label":[5]}"#] {
            assert_eq!(filters(bad, &["label"]).unwrap_err().message, "invalid filter", "{bad}");
        }
    }

    #[test]
    fn bodies_are_complained_of_in_gos_words() {
        let error = |text: &str| decode::<String>(text.as_bytes()).unwrap_err().message;
        assert_eq!(error(""), "invalid JSON: got EOF while reading request body");
        assert_eq!(error("{"), "invalid JSON: unexpected EOF");
        assert_eq!(error("\"a\" {}"), "unexpected content after JSON");
        assert_eq!(
            error("x"),
            "invalid JSON: invalid character 'x' looking for beginning of value"
        );
        assert_eq!(
            error("{invalid"),
            "invalid JSON: invalid character 'i' looking for beginning of object key string"
        );
        assert_eq!(decode::<String>(b"\"a\" \n").unwrap(), "a");
    }
}
