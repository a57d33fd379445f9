//! Namespaces: made by the first write of anything in them, or by name; deleted when nothing is left.

use super::{CLAIM, Meta, change_labels, new_labels};
use crate::exchange;
use gantry_core::meta::{Change, Happening};
use gantry_core::{Error, Labels, Namespace, Result};
use gantry_store::{Batch, NamespaceRecord};
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::time::SystemTime;

/// Tables whose rows keep a namespace, with containerd's words for them.
const HOLDINGS: [(&str, &str); 5] = [
    ("images", "images"),
    ("blobs", "blobs"),
    ("containers", "containers"),
    ("client_containers", "containers"),
    ("sandboxes", "sandboxes"),
];

impl Meta {
    /// All of them with their labels, by name.
    pub async fn namespaces(&self) -> Result<Vec<(Namespace, Labels)>> {
        self.run(|meta| {
            let all = meta.store.list::<NamespaceRecord>()?;
            Ok(all.into_iter().map(|(ns, record)| (ns, record.labels)).collect())
        })
        .await
    }

    /// Its labels; one that is not there has none.
    pub async fn namespace(&self, ns: &Namespace) -> Result<Labels> {
        let ns = ns.clone();
        self.run(move |meta| Ok(meta.store.get::<NamespaceRecord>(&ns)?.unwrap_or_default().labels))
            .await
    }

    pub async fn create_namespace(&self, ns: &Namespace, labels: Labels) -> Result<()> {
        let ns = ns.clone();
        self.run(move |meta| {
            let labels = new_labels(labels)?;
            let _claim = meta.store.claim_namespace(&ns, CLAIM)?;
            if meta.store.contains::<NamespaceRecord>(&ns)? {
                return Err(Error::exists(format!("namespace \"{ns}\": already exists")));
            }
            let happening = Happening::NamespaceCreate {
                name: ns.to_string(),
                labels: labels.clone(),
            };
            meta.write_namespace(&ns, labels, &happening)
        })
        .await
    }

    /// Changes the labels, answers them all. Makes the namespace if it is not there.
    pub async fn update_namespace(&self, ns: &Namespace, change: Change<Labels>) -> Result<Labels> {
        let ns = ns.clone();
        self.run(move |meta| {
            let _claim = meta.store.claim_namespace(&ns, CLAIM)?;
            let mut labels = meta.store.get::<NamespaceRecord>(&ns)?.unwrap_or_default().labels;
            change_labels(&mut labels, Some(change))?;
            let happening = Happening::NamespaceUpdate {
                name: ns.to_string(),
                labels: labels.clone(),
            };
            meta.write_namespace(&ns, labels.clone(), &happening)?;
            Ok(labels)
        })
        .await
    }

    fn write_namespace(&self, ns: &Namespace, labels: Labels, happening: &Happening) -> Result<()> {
        let mut batch = Batch::new();
        batch.put(ns, &NamespaceRecord { labels })?;
        batch.event(exchange::told(ns, SystemTime::now(), happening)?);
        self.store.commit(batch)?;
        Ok(())
    }

    /// Deletes an empty namespace, its leases too. One that is not empty is refused, with what is left in it.
    pub async fn delete_namespace(&self, ns: &Namespace) -> Result<()> {
        let ns = ns.clone();
        self.run(move |meta| {
            let _claim = meta.store.claim_namespace(&ns, CLAIM)?;
            let left = meta.left_in(&ns)?;
            if !left.is_empty() {
                return Err(Error::precondition(format!(
                    "namespace \"{ns}\" must be empty, but it still has {}: failed precondition",
                    left.join(", ")
                )));
            }
            if !meta.store.contains::<NamespaceRecord>(&ns)? {
                return Err(Error::not_found(format!("namespace \"{ns}\": not found")));
            }
            let mut batch = Batch::new();
            batch.delete::<NamespaceRecord>(&ns);
            for (lease, _) in meta.leases.list(&ns)? {
                meta.leases.delete_in(&mut batch, &ns, &lease)?;
            }
            let happening = Happening::NamespaceDelete { name: ns.to_string() };
            batch.event(exchange::told(&ns, SystemTime::now(), &happening)?);
            meta.store.commit(batch)?;
            Ok(())
        })
        .await
    }

    /// What keeps a namespace from being deleted.
    fn left_in(&self, ns: &Namespace) -> Result<Vec<String>> {
        let mut left: Vec<String> = Vec::new();
        for (table, word) in HOLDINGS {
            let mut any = false;
            self.store.visit_keys::<(Namespace, String)>(table, ns, |_| {
                any = true;
                ControlFlow::Break(())
            })?;
            if any && !left.iter().any(|known| known == word) {
                left.push(word.to_owned());
            }
        }
        let mut snapshotters = BTreeSet::new();
        self.store
            .visit_keys::<(Namespace, String, String)>("snapshots", ns, |(_, snapshotter, _)| {
                snapshotters.insert(snapshotter);
                ControlFlow::Continue(())
            })?;
        left.extend(
            snapshotters
                .into_iter()
                .map(|name| format!("snapshots on \"{name}\" snapshotter")),
        );
        Ok(left)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{labels, ns, room};
    use super::super::{DeleteImage, NewImage};
    use super::*;
    use gantry_core::ErrorKind;
    use gantry_core::label::MAX_LABEL;
    use gantry_core::snapshot::{SnapshotOptions, SnapshotService};
    use std::time::Duration;

    #[tokio::test]
    async fn made_by_name_changed_and_deleted() {
        let room = room();
        let (meta, one) = (&room.meta, ns("one"));
        assert!(meta.namespace(&one).await.unwrap().is_empty(), "unknown is no error");
        assert!(meta.namespaces().await.unwrap().is_empty());
        let given = labels(&[("a", "1"), ("b", "2"), ("none", "")]);
        meta.create_namespace(&one, given).await.unwrap();
        assert_eq!(meta.namespace(&one).await.unwrap(), labels(&[("a", "1"), ("b", "2")]));
        let error = meta.create_namespace(&one, Labels::new()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);

        let merge = Change::Merge(labels(&[("a", ""), ("c", "3")]));
        let after = meta.update_namespace(&one, merge).await.unwrap();
        assert_eq!(after, labels(&[("b", "2"), ("c", "3")]));
        let replace = Change::Replace(labels(&[("d", "4")]));
        assert_eq!(
            meta.update_namespace(&one, replace).await.unwrap(),
            labels(&[("d", "4")])
        );
        let long = "x".repeat(MAX_LABEL);
        for change in [Change::Merge, Change::Replace] {
            let error = meta.update_namespace(&one, change(labels(&[("k", &long)]))).await;
            assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidArgument);
        }
        assert_eq!(meta.namespaces().await.unwrap(), [(one.clone(), labels(&[("d", "4")]))]);

        meta.delete_namespace(&one).await.unwrap();
        assert!(meta.namespaces().await.unwrap().is_empty());
        let error = meta.delete_namespace(&one).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        let topics: Vec<_> = room.happened(&one).into_iter().map(|(topic, _)| topic).collect();
        assert_eq!(
            topics,
            [
                "/namespaces/create",
                "/namespaces/update",
                "/namespaces/update",
                "/namespaces/delete"
            ]
        );
        assert_eq!(
            room.happened(&one)[1].1,
            Happening::NamespaceUpdate {
                name: "one".to_owned(),
                labels: labels(&[("b", "2"), ("c", "3")]),
            }
        );
    }

    #[tokio::test]
    async fn an_update_makes_it() {
        let room = room();
        let two = ns("two");
        let change = Change::Merge(labels(&[("a", "1")]));
        room.meta.update_namespace(&two, change).await.unwrap();
        assert_eq!(room.meta.namespaces().await.unwrap(), [(two, labels(&[("a", "1")]))]);
    }

    #[tokio::test]
    async fn what_is_left_is_named_and_leases_go_along() {
        let room = room();
        let (meta, one, other) = (&room.meta, ns("one"), ns("one-more"));
        let target = room.blob(&one, "bytes");
        room.blob(&other, "other bytes");
        let image = NewImage {
            name: "app".to_owned(),
            target: target.clone(),
            labels: Labels::new(),
            at: None,
            lease: None,
        };
        meta.create_image(&one, image).await.unwrap();
        room.snapshots
            .prepare(&one, "native", "layer", None, SnapshotOptions::default())
            .unwrap();
        let error = meta.delete_namespace(&one).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
        assert!(
            error
                .message()
                .contains("\"one\" must be empty, but it still has images, blobs, snapshots on \"native\" snapshotter"),
            "{error}"
        );
        assert!(meta.image(&one, "app").await.is_ok(), "nothing is half done");

        room.snapshots.remove(&one, "native", "layer").unwrap();
        let (lease, _) = meta.leases.create(&one, None, Labels::new()).unwrap();
        let how = DeleteImage {
            sync: true,
            ..DeleteImage::default()
        };
        meta.delete_image(&one, "app", how).await.unwrap();
        meta.delete_namespace(&one).await.unwrap();
        assert!(meta.leases.get(&one, &lease).is_err());
        assert!(room.has_blob(&other, &room.blob(&other, "new").digest));
    }

    #[tokio::test]
    async fn one_that_is_written_into_is_not_deleted_meanwhile() {
        let room = room();
        let one = ns("one");
        room.meta.create_namespace(&one, Labels::new()).await.unwrap();
        let mut batch = Batch::new();
        let held = room.store.appear(&mut batch, &one).unwrap();
        assert!(batch.is_empty(), "it is there already");
        assert!(
            room.store.claim_namespace(&one, Duration::ZERO).is_err(),
            "a deletion waits"
        );
        let other = room.store.appear(&mut batch, &one).unwrap();
        drop((held, other));
        room.meta.delete_namespace(&one).await.unwrap();
    }
}
