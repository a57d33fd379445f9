//! List images.

use super::Image;
use super::prune::created;
use crate::Engine;
use crate::filters::Filters;
use gantry_core::Result;
use gantry_core::reference::Reference;
use std::collections::HashMap;

const KNOWN: &[&str] = &["before", "dangling", "label", "label!", "reference", "since", "until"];

#[derive(Debug, Clone, Default)]
pub struct ListImages {
    pub all: bool,
    pub filters: Filters,
}

#[derive(Debug, Clone)]
pub struct ImageSummary {
    pub image: Image,
    /// Containers made from it.
    pub containers: usize,
}

impl Engine {
    pub async fn images(&self, request: ListImages) -> Result<Vec<ImageSummary>> {
        let filters = &request.filters;
        filters.check(KNOWN)?;
        let dangling = filters.flag("dangling")?;
        let (mut before, mut since) = (Vec::new(), Vec::new());
        for value in filters.values("before") {
            before.push(created(&self.image(value).await?));
        }
        for value in filters.values("since") {
            since.push(created(&self.image(value).await?));
        }
        let until = filters.until()?;
        let mut used: HashMap<_, usize> = HashMap::new();
        for keeper in self.context.registry.all() {
            *used.entry(keeper.record().image_id.clone()).or_default() += 1;
        }
        let mut rows = Vec::new();
        for mut image in self.all_images().await? {
            let nameless = image.repo_tags().is_empty();
            let created = created(&image);
            let labels = &image.config.config.labels;
            let shown = dangling.is_none_or(|wanted| wanted == nameless)
                && filters.labels(labels)
                && filters.not_labels(labels)
                && before.iter().all(|bound| created < *bound)
                && since.iter().all(|bound| created > *bound)
                && until.is_none_or(|bound| created.is_some_and(|created| created < bound));
            if !shown || !keep_matching(&mut image, filters) {
                continue;
            }
            let containers = used.get(&image.id).copied().unwrap_or(0);
            rows.push(ImageSummary { image, containers });
        }
        Ok(rows)
    }
}

/// `reference` shows only the names that match, and no image without one.
fn keep_matching(image: &mut Image, filters: &Filters) -> bool {
    let patterns = filters.values("reference");
    if patterns.is_empty() {
        return true;
    }
    image.records.retain(|record| {
        let Ok(reference) = Reference::parse(&record.name) else {
            return false;
        };
        patterns
            .iter()
            .any(|pattern| glob(pattern, &reference.familiar()) || glob(pattern, &reference.familiar_name()))
    });
    !image.records.is_empty()
}

/// Shell pattern over a name: `*` and `?` stop at slashes.
fn glob(pattern: &str, name: &str) -> bool {
    let mut regex = String::from("^");
    for c in pattern.chars() {
        match c {
            '*' => regex.push_str("[^/]*"),
            '?' => regex.push_str("[^/]"),
            c if c.is_ascii_alphanumeric() => regex.push(c),
            c => {
                regex.push('\\');
                regex.push(c);
            }
        }
    }
    regex.push('$');
    regex_lite::Regex::new(&regex).is_ok_and(|regex| regex.is_match(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_stop_at_slashes() {
        assert!(glob("busy*", "busybox"));
        assert!(glob("busybox:*", "busybox:latest"));
        assert!(!glob("*", "a/b"));
        assert!(glob("*/*", "a/b"));
        assert!(!glob("busy", "busybox"));
    }
}
