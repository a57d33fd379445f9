//! Every route and every word of a query has a test: the table of routes (`docs/docker-routes.md`, which the door prints) is walked,
//! and a word without a case that shows its effect fails. So does a word that Docker publishes (`schema/queries.txt`) and that the
//! table does not have.

mod containers;
mod images;
mod rest;
mod streams;

use crate::world::World;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// `METHOD path word`, `METHOD path filters.key`, or `METHOD path` for a route that reads nothing; and what shows it.
type Case = (&'static str, fn(&World));

const ROUTES: &str = include_str!("../../../../docs/docker-routes.md");
const PUBLISHED: &str = include_str!("schema/queries.txt");

/// A route as the document has it.
pub struct Route {
    pub method: String,
    pub path: String,
    pub answer: String,
    pub words: Vec<Word>,
    filters: Vec<String>,
}

pub struct Word {
    pub name: String,
    since: u32,
    refused: bool,
}

impl Route {
    pub fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    fn served(&self) -> bool {
        self.answer == "served"
    }
}

fn word(text: &str) -> Word {
    let (text, refused) = text.strip_suffix('!').map_or((text, false), |text| (text, true));
    let (name, since) = text.split_once('@').unwrap_or((text, "0"));
    Word {
        name: name.to_owned(),
        since: since.parse().expect("a minor version"),
        refused,
    }
}

pub fn routes() -> Vec<Route> {
    let rows = ROUTES.lines().filter(|line| line.starts_with("| ")).skip(1);
    rows.map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let (method, path) = cells[0].split_once(' ').expect("a method and a path");
        Route {
            method: method.to_owned(),
            path: path.to_owned(),
            answer: cells[1].to_owned(),
            words: cells[2].split_whitespace().map(word).collect(),
            filters: cells[3].split_whitespace().map(str::to_owned).collect(),
        }
    })
    .collect()
}

/// Two paths of one handler; the cases of the second are those of the first, and one that shows that they are the same.
const ALIASES: &[(&str, &str)] = &[("GET /networks/", "GET /networks")];

/// Routes that read nothing of a query, and whose effects the other tests of this program are about.
const PLAIN: &[&str] = &[
    "GET /_ping",
    "HEAD /_ping",
    "GET /version",
    "GET /info",
    "GET /containers/{name}/export",
    "GET /containers/{name}/changes",
    "POST /containers/{name}/pause",
    "POST /containers/{name}/unpause",
    "POST /containers/{name}/update",
    "POST /containers/{name}/exec",
    "POST /exec/{name}/start",
    "GET /exec/{name}/json",
    "POST /networks/create",
    "POST /networks/{name}/connect",
    "POST /networks/{name}/disconnect",
    "DELETE /networks/{name}",
    "POST /volumes/create",
    "GET /volumes/{name}",
];

#[test]
fn every_word_has_a_case() {
    let groups = [containers::CASES, images::CASES, rest::CASES, streams::CASES];
    let mut cases: BTreeSet<&str> = BTreeSet::new();
    for (name, _) in groups.into_iter().flatten() {
        assert!(cases.insert(*name), "{name} has two cases");
    }
    let mut wanted = BTreeSet::new();
    for route in routes().iter().filter(|route| route.served()) {
        let name = route.name();
        if ALIASES.iter().any(|(alias, _)| *alias == name) {
            wanted.insert(name);
            continue;
        }
        for word in route.words.iter().filter(|word| !word.refused) {
            wanted.insert(format!("{name} {}", word.name));
        }
        wanted.extend(route.filters.iter().map(|key| format!("{name} filters.{key}")));
        if route.words.is_empty() {
            assert!(PLAIN.contains(&name.as_str()), "{name} is nobody's");
        }
    }
    // What shows a key shows that filters are read.
    wanted.retain(|name| !name.ends_with(" filters"));
    let missing: Vec<&String> = wanted.iter().filter(|name| !cases.contains(name.as_str())).collect();
    assert!(missing.is_empty(), "without a case: {missing:#?}");
    let unknown: Vec<&&str> = cases.iter().filter(|name| !wanted.contains(**name)).collect();
    assert!(unknown.is_empty(), "cases of nothing: {unknown:#?}");
}

/// What Docker publishes and the table has not.
#[test]
fn every_published_word_is_in_the_table() {
    let routes: BTreeMap<String, Route> = routes().into_iter().map(|route| (route.name(), route)).collect();
    let mut missing = Vec::new();
    let mut seen = 0;
    for line in PUBLISHED
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let mut parts = line.split(' ');
        let name = parts.by_ref().take(2).collect::<Vec<_>>().join(" ");
        // Its own first version.
        parts.next();
        let Some(route) = routes.get(&name) else {
            missing.push(name);
            continue;
        };
        // Whatever is asked of a swarm or of plugins, there are none.
        if matches!(route.answer.as_str(), "no swarm" | "no plugins") {
            continue;
        }
        for published in parts {
            let published = published.strip_prefix("H:").unwrap_or(published);
            let mut fields = published.split(':');
            let (word, since) = (fields.next().unwrap_or_default(), fields.nth(1).unwrap_or_default());
            let since: u32 = since
                .split('-')
                .next()
                .and_then(|minor| minor.parse().ok())
                .expect("a minor version");
            seen += 1;
            // How a body is written is for every route the same.
            if word == "Content-type" {
                continue;
            }
            match route.words.iter().find(|known| known.name == word) {
                Some(known) if known.since <= since => {}
                Some(_) => missing.push(format!("{name} {word} at 1.{since}")),
                None => missing.push(format!("{name} {word}")),
            }
        }
    }
    assert!(seen > 100, "{seen} published words were read");
    assert!(
        missing.is_empty(),
        "published, and neither read nor refused: {missing:#?}"
    );
}

/// What is known and not obeyed is refused by its name, from the version on that has it.
#[test]
fn what_is_not_obeyed_is_refused_by_name() {
    let w = &World::new(false);
    let mut seen = 0;
    for route in routes().iter().filter(|route| route.served()) {
        for word in route.words.iter().filter(|word| word.refused) {
            let path = format!("{}?{}=x1", route.path.replace("{name}", "nothing"), word.name);
            let refused = w.at("1.51", &route.method, &path, &Value::Null);
            assert_eq!(refused.status, 501, "{path}: {refused:?}");
            assert!(refused.message().starts_with(&word.name), "{path}: {refused:?}");
            if word.since > 24 {
                let before = format!("1.{}", word.since - 1);
                let passed = w.at(&before, &route.method, &path, &Value::Null);
                assert_ne!(passed.status, 501, "{path} at {before}");
            }
            seen += 1;
        }
    }
    assert!(seen > 0);
}

/// Runs a group's cases in one house, and tells of all that failed.
fn run(netns: bool, prepare: fn(&World), cases: &[Case]) {
    let w = World::new(netns);
    prepare(&w);
    let failed: Vec<&str> = cases
        .iter()
        .filter(|(name, case)| {
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| case(&w)));
            if done.is_err() {
                eprintln!("^ {name}");
            }
            done.is_err()
        })
        .map(|(name, _)| *name)
        .collect();
    assert!(failed.is_empty(), "without their effect: {failed:#?}");
}
