//! Who we are to a registry: basic and bearer (Docker's "token authentication" and its OAuth2 form).

use super::http::{Ask, Endpoint};
use super::{Login, Question, Repository};
use crate::error::{ImageError, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use http::{Method, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use std::fmt;
use tokio::sync::oneshot;

const MAX_TOKEN: u64 = 1 << 20;

/// A login. Empty fields are absent.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    pub username: String,
    pub password: String,
    /// OAuth2 refresh token; wins over the password.
    pub identity_token: String,
    /// A whole `Authorization` value; wins over everything, and no token is asked for.
    pub header: String,
}

impl Credentials {
    /// `None` if nothing was given.
    pub fn new(username: &str, password: &str, identity_token: &str) -> Option<Self> {
        let given = !username.is_empty() || !identity_token.is_empty();
        given.then(|| Self {
            username: username.to_owned(),
            password: password.to_owned(),
            identity_token: identity_token.to_owned(),
            header: String::new(),
        })
    }

    fn basic(&self) -> String {
        format!(
            "Basic {}",
            STANDARD.encode(format!("{}:{}", self.username, self.password))
        )
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// What a 401 asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    Basic,
    Bearer {
        realm: String,
        service: String,
        scope: String,
    },
}

impl Challenge {
    /// Bearer if it is offered, else basic.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let offers = headers
            .get_all(WWW_AUTHENTICATE)
            .iter()
            .filter_map(|value| value.to_str().ok());
        let mut basic = None;
        for offer in offers {
            match Self::parse(offer) {
                Some(Self::Basic) => basic = Some(Self::Basic),
                Some(bearer) => return Some(bearer),
                None => {}
            }
        }
        basic
    }

    fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once(' ').unwrap_or((text, ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Self::Basic);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let (mut realm, mut service, mut scope) = (String::new(), String::new(), String::new());
        for (key, value) in parameters(rest) {
            match key.to_ascii_lowercase().as_str() {
                "realm" => realm = value,
                "service" => service = value,
                "scope" => scope = value,
                _ => {}
            }
        }
        (!realm.is_empty()).then_some(Self::Bearer { realm, service, scope })
    }
}

/// `key="value with, commas",key=value` (RFC 7235, auth-param).
fn parameters(mut text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    while let Some((key, rest)) = text.split_once('=') {
        let key = key.trim_matches([' ', ',']).to_owned();
        let rest = rest.trim_start();
        let (value, after) = match rest.strip_prefix('"') {
            Some(quoted) => {
                let mut value = String::new();
                let mut chars = quoted.char_indices();
                let mut end = quoted.len();
                while let Some((at, c)) = chars.next() {
                    match c {
                        '"' => {
                            end = at + 1;
                            break;
                        }
                        '\\' => value.extend(chars.next().map(|(_, c)| c)),
                        c => value.push(c),
                    }
                }
                (value, &quoted[end..])
            }
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                (rest[..end].trim().to_owned(), &rest[end..])
            }
        };
        found.push((key, value));
        text = after;
    }
    found
}

#[derive(serde::Deserialize)]
struct TokenAnswer {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
}

impl Repository {
    /// The `Authorization` value that answers a refusal, kept for what is asked next; `None` if none is wanted.
    pub(super) async fn answer(&self, endpoint: &Endpoint, headers: &HeaderMap) -> Result<Option<String>> {
        let Some(challenge) = Challenge::of(headers) else {
            return Ok(None);
        };
        let said = headers.get_all(WWW_AUTHENTICATE).iter();
        let said = said.filter_map(|line| Some(line.to_str().ok()?.to_owned())).collect();
        let known = self.login(endpoint, said).await?;
        let authorization = self.authorize(endpoint, challenge, known.as_ref()).await?;
        let mut tokens = self.tokens.lock();
        tokens.insert(endpoint.base.clone(), authorization.clone());
        Ok(Some(authorization))
    }

    /// Who we are to this host. One that may not hear a secret hears none.
    async fn login(&self, endpoint: &Endpoint, challenges: Vec<String>) -> Result<Option<Credentials>> {
        match &self.access.login {
            _ if !endpoint.may_hold_secrets() => Ok(None),
            Login::Anonymous => Ok(None),
            // A mirror never sees the registry's own credentials.
            Login::Known(credentials) => Ok((!endpoint.mirror).then(|| credentials.clone())),
            Login::Asked(asker) => {
                let mut asked = self.asked.lock().await;
                let (answer, answered) = oneshot::channel();
                let question = Question {
                    host: endpoint.host.clone(),
                    challenges,
                    answer,
                };
                let known = match asker.send(question).await {
                    Ok(()) => answered.await.unwrap_or(Ok(None))?,
                    Err(_) => None,
                };
                asked.insert(endpoint.host.clone(), known.clone());
                Ok(known)
            }
        }
    }

    /// Whether a refusal means these credentials.
    pub(super) async fn is_known(&self, endpoint: &Endpoint) -> bool {
        match &self.access.login {
            Login::Anonymous => false,
            Login::Known(_) => true,
            Login::Asked(_) => self.asked.lock().await.get(&endpoint.host).is_some_and(Option::is_some),
        }
    }

    pub(super) fn denied(&self, detail: String) -> ImageError {
        ImageError::Denied {
            deed: if self.pushing { "push" } else { "pull" },
            reference: self.reference.familiar(),
            detail,
        }
    }

    async fn authorize(
        &self,
        endpoint: &Endpoint,
        challenge: Challenge,
        known: Option<&Credentials>,
    ) -> Result<String> {
        if let Some(whole) = known.map(|known| &known.header).filter(|header| !header.is_empty()) {
            return Ok(whole.clone());
        }
        match challenge {
            Challenge::Basic => match known {
                Some(credentials) if credentials.identity_token.is_empty() => Ok(credentials.basic()),
                _ => Err(self.denied(format!("registry {} wants a login", endpoint.host))),
            },
            Challenge::Bearer { realm, service, scope } => {
                let mut scopes = self.scopes.clone();
                if !scope.is_empty() && !scopes.contains(&scope) {
                    scopes.push(scope);
                }
                if scopes.is_empty() {
                    scopes.push(format!("repository:{}:pull", self.reference.path()));
                }
                self.token(endpoint, &realm, &service, &scopes, known).await
            }
        }
    }

    async fn token(
        &self,
        endpoint: &Endpoint,
        realm: &str,
        service: &str,
        scopes: &[String],
        known: Option<&Credentials>,
    ) -> Result<String> {
        let known = known.filter(|_| realm.starts_with("https://") || endpoint.lax);
        let mut ask = token_request(realm, service, scopes, known);
        ask.log = self.access.log.clone();
        let client = self.client(endpoint);
        let mut response = client.send(&ask, endpoint.lax).await?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                return Err(ImageError::Login {
                    host: endpoint.host.clone(),
                    detail: client.explanation(&mut response, &endpoint.host).await,
                });
            }
            _ => return Err(self.failure(endpoint, "a token", response).await),
        }
        let body = client.body(&mut response, &endpoint.host, "a token", MAX_TOKEN).await?;
        let answer: TokenAnswer =
            serde_json::from_slice(&body).map_err(|e| ImageError::parse("a registry's token", e))?;
        let token = if answer.token.is_empty() {
            answer.access_token
        } else {
            answer.token
        };
        match token.is_empty() {
            true => Err(ImageError::BadAnswer {
                host: endpoint.host.clone(),
                what: "a token".to_owned(),
                detail: "there is none in it".to_owned(),
            }),
            false => Ok(format!("Bearer {token}")),
        }
    }
}

/// Docker's form with basic authentication, or OAuth2's for an identity token.
fn token_request(realm: &str, service: &str, scopes: &[String], known: Option<&Credentials>) -> Ask {
    let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    match known {
        Some(credentials) if !credentials.identity_token.is_empty() => {
            headers.insert(
                CONTENT_TYPE,
                HeaderValue::from_static("application/x-www-form-urlencoded"),
            );
            let form = format!(
                "grant_type=refresh_token&client_id=gantry&service={}&scope={}&refresh_token={}",
                encode(service),
                encode(&scopes.join(" ")),
                encode(&credentials.identity_token)
            );
            Ask {
                method: Method::POST,
                url: realm.to_owned(),
                headers,
                authorization: None,
                body: Bytes::from(form),
                log: None,
            }
        }
        _ => {
            let joint = if realm.contains('?') { '&' } else { '?' };
            let account = known
                .map(|c| format!("&account={}", encode(&c.username)))
                .unwrap_or_default();
            let scopes: String = scopes.iter().map(|scope| format!("&scope={}", encode(scope))).collect();
            Ask {
                method: Method::GET,
                url: format!("{realm}{joint}service={}{scopes}{account}", encode(service)),
                headers,
                authorization: known.map(Credentials::basic),
                body: Bytes::new(),
                log: None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read() {
        let bearer = |realm: &str, service: &str, scope: &str| Challenge::Bearer {
            realm: realm.into(),
            service: service.into(),
            scope: scope.into(),
        };
        for (text, want) in [
            ("Basic realm=\"x\"", Some(Challenge::Basic)),
            ("basic", Some(Challenge::Basic)),
            (
                "Bearer realm=\"https://a/t?x=1\",service=\"s\",scope=\"repository:a/b:pull,push\"",
                Some(bearer("https://a/t?x=1", "s", "repository:a/b:pull,push")),
            ),
            ("bearer service=s, realm=https://a", Some(bearer("https://a", "s", ""))),
            ("Bearer realm=\"a\\\"b\"", Some(bearer("a\"b", "", ""))),
            ("Bearer realm=\"open", Some(bearer("open", "", ""))),
            ("Bearer", None),
            ("Negotiate", None),
        ] {
            assert_eq!(Challenge::parse(text), want, "{text}");
        }
    }
}
