//! Pull and push, with the logins, hosts and headers that a client speaks of.

use crate::bed::{Bed, Closed, Told, events, platform, registry, store, with};
use crate::image::Image;
use gantry_e2e::peers::Registry;
use gantry_proto_containerd::any::{pack, unpack};
use gantry_proto_containerd::types::transfer as wire;
use std::collections::BTreeSet;
use tonic::Code;

const NAME: &str = "example.org/app:v1";

async fn import(bed: &Bed, image: &Image) {
    let to = wire::ImageStore {
        extra_references: vec![wire::ImageReference {
            name: "example.org/app".to_owned(),
            is_prefix: true,
            ..wire::ImageReference::default()
        }],
        ..wire::ImageStore::default()
    };
    bed.import(image.layout(&["v1"]), to).await;
}

fn all(told: &Told) -> BTreeSet<&str> {
    told.iter().map(|one| one.event.as_str()).collect()
}

#[test]
fn an_image_goes_to_a_registry_and_comes_back_as_much_of_it_as_is_wanted() {
    with(|bed| async move {
        let peer = Registry::start(bed.house.root());
        let image = Image::new("pushed", false);
        import(&bed, &image).await;
        let remote = format!("{}/app:v1", peer.host);
        let (done, told) = bed.told(pack(&store(NAME)), pack(&registry(&remote))).await;
        done.unwrap();
        assert_eq!(told[0].event, format!("Pushing to OCI Registry ({remote})"));
        assert_eq!(
            told.last().unwrap().event,
            format!("Completed push to OCI Registry ({remote})")
        );
        assert_eq!(events(&told, NAME), ["pushing content", "pushed content"]);
        let layer = events(&told, &format!("layer-{}", image.arm64.layer));
        assert_eq!(
            (layer[0].as_str(), layer.last().unwrap().as_str()),
            ("waiting", "complete")
        );
        let of_layer = told.iter().find(|one| one.name.starts_with("layer-")).unwrap();
        assert!(of_layer.parents[0].starts_with("manifest-sha256:"), "{of_layer:?}");
        assert_eq!(of_layer.total, of_layer.desc.as_ref().unwrap().size);
        let (done, told) = bed.told(pack(&store(NAME)), pack(&registry(&remote))).await;
        done.unwrap();
        assert!(
            all(&told).contains("already exists") && !all(&told).contains("complete"),
            "{told:?}"
        );

        let two = Bed::beside(&bed, bed.caller.connection().of("two"));
        let to = wire::ImageStore {
            platforms: vec![platform("arm64")],
            ..store("arm:1")
        };
        let (done, told) = two.told(pack(&registry(&remote)), pack(&to)).await;
        done.unwrap();
        assert_eq!(told[0].event, format!("Resolving from OCI Registry ({remote})"));
        assert_eq!(events(&told, "arm:1"), ["saved"]);
        let key = format!("index-{}", image.index);
        assert_eq!(events(&told, &key), ["waiting", "complete"]);
        let root = told.iter().find(|one| one.name == key).unwrap();
        assert_eq!(root.parents, std::slice::from_ref(&remote));
        let held = two.content(&two.caller).await;
        let wanted = [
            &image.index,
            &image.arm64.manifest,
            &image.arm64.config,
            &image.arm64.layer,
        ];
        assert_eq!(held, wanted.map(Clone::clone).into());
        assert!(
            two.snapshots(&two.caller, "native").await.is_empty(),
            "nothing was to be unpacked"
        );
        // Half of it cannot be pushed as the whole.
        let error = two.transfer(pack(&store("arm:1")), pack(&registry(&format!("{}/half:1", peer.host))));
        let error = error.await.unwrap_err();
        assert_eq!(error.code(), Code::NotFound);
        assert!(error.message().contains(&image.amd64.manifest), "{error}");

        let three = Bed::beside(&bed, bed.caller.connection().of("three"));
        let to = wire::ImageStore {
            platforms: vec![platform("amd64")],
            all_metadata: true,
            unpacks: vec![wire::UnpackConfiguration {
                platform: Some(platform("amd64")),
                snapshotter: "native".to_owned(),
            }],
            ..store("both:1")
        };
        let (done, told) = three.told(pack(&registry(&remote)), pack(&to)).await;
        done.unwrap();
        let held = three.content(&three.caller).await;
        assert!(held.contains(&image.arm64.config) && !held.contains(&image.arm64.layer));
        let unpacked = three.snapshots(&three.caller, "native").await;
        assert_eq!(unpacked, [image.amd64.layer.clone()].into());
        assert_eq!(
            events(&told, &format!("layer-{}", image.amd64.layer)).last().unwrap(),
            "extracted"
        );

        let four = Bed::beside(&bed, bed.caller.connection().of("four"));
        let to = wire::ImageStore {
            platforms: vec![platform("arm64"), platform("amd64")],
            manifest_limit: 1,
            ..store("one:1")
        };
        four.transfer(pack(&registry(&remote)), pack(&to)).await.unwrap();
        let held = four.content(&four.caller).await;
        assert!(held.contains(&image.arm64.layer) && !held.contains(&image.amd64.manifest));
        let nowhere = wire::ImageStore {
            platforms: vec![platform("riscv64")],
            ..store("none:1")
        };
        let error = four
            .transfer(pack(&registry(&remote)), pack(&nowhere))
            .await
            .unwrap_err();
        assert_eq!(error.code(), Code::NotFound, "{error}");
        let nameless = four.transfer(pack(&registry(&remote)), pack(&wire::ImageStore::default()));
        assert_eq!(nameless.await.unwrap_err().message(), "no image name found: not found");
    });
}

/// A client that answers each question with this login, and counts them.
async fn login(bed: &Bed, answer: wire::AuthResponse) -> (String, tokio::task::JoinHandle<Vec<wire::AuthRequest>>) {
    let id = bed.fresh("login");
    let (to, mut from) = bed.open(&bed.caller, &id).await.unwrap();
    let answering = tokio::spawn(async move {
        let mut asked = Vec::new();
        while let Ok(Some(message)) = from.message().await {
            asked.push(unpack::<wire::AuthRequest>(&message).unwrap());
            if to.send(pack(&answer)).await.is_err() {
                break;
            }
        }
        asked
    });
    (id, answering)
}

fn known(password: &str) -> wire::AuthResponse {
    wire::AuthResponse {
        auth_type: wire::AuthType::Credentials.into(),
        username: "me".to_owned(),
        secret: password.to_owned(),
        ..wire::AuthResponse::default()
    }
}

#[test]
fn a_closed_registry_is_entered_by_asking_the_client() {
    with(|bed| async move {
        let peer = Closed::start(bed.house.root());
        let image = Image::new("secret", false);
        import(&bed, &image).await;
        let remote = format!("{}/closed/app:v1", peer.host);
        let with = |resolver: wire::RegistryResolver| wire::OciRegistry {
            reference: remote.clone(),
            resolver: Some(resolver),
        };
        let error = bed
            .transfer(pack(&store(NAME)), pack(&registry(&remote)))
            .await
            .unwrap_err();
        assert_eq!(error.code(), Code::PermissionDenied, "{error}");
        let (auth_stream, answering) = login(&bed, known("wrong")).await;
        let to = with(wire::RegistryResolver {
            auth_stream,
            ..Default::default()
        });
        let error = bed.transfer(pack(&store(NAME)), pack(&to)).await.unwrap_err();
        assert_eq!(error.code(), Code::Unauthenticated, "{error}");
        let asked = answering.await.unwrap();
        assert_eq!(
            (asked[0].host.as_str(), asked[0].reference.as_str()),
            (peer.host.as_str(), remote.as_str())
        );
        assert!(asked[0].wwwauthenticate[0].starts_with("Basic "), "{asked:?}");

        let (auth_stream, answering) = login(&bed, known("secret")).await;
        let (logs_stream, log) = bed.taking().await;
        let to = with(wire::RegistryResolver {
            auth_stream,
            logs_stream,
            http_debug: wire::HttpDebug::Both.into(),
            headers: [("X-Walk".to_owned(), "on".to_owned())].into(),
            default_scheme: "http".to_owned(),
            ..Default::default()
        });
        bed.transfer(pack(&store(NAME)), pack(&to)).await.unwrap();
        assert!(!answering.await.unwrap().is_empty());
        let log = String::from_utf8(log.await.unwrap()).unwrap();
        assert!(
            log.contains("> x-walk: on") && log.contains("> authorization: <redacted>"),
            "{log}"
        );
        assert!(log.contains("< 201") && log.contains("answered 201 after"), "{log}");
        assert!(!log.contains("bWU6c2VjcmV0"), "the login itself is in nobody's log");

        // The whole header, as a client that keeps one gives it.
        let header = wire::AuthResponse {
            auth_type: wire::AuthType::Header.into(),
            secret: "Basic bWU6c2VjcmV0".to_owned(),
            ..wire::AuthResponse::default()
        };
        let (auth_stream, _answering) = login(&bed, header).await;
        let from = with(wire::RegistryResolver {
            auth_stream,
            ..Default::default()
        });
        let two = Bed::beside(&bed, bed.caller.connection().of("one"));
        two.transfer(pack(&from), pack(&store("back:1"))).await.unwrap();
        assert_eq!(bed.images(&bed.caller).await["back:1"], image.index);
    });
}

#[test]
fn what_a_client_says_of_hosts_is_obeyed_or_refused_by_name() {
    with(|bed| async move {
        let peer = Registry::start(bed.house.root());
        let image = Image::new("hosts", false);
        import(&bed, &image).await;
        bed.transfer(pack(&store(NAME)), pack(&registry(&format!("{}/app:v1", peer.host))))
            .await
            .unwrap();
        let hosts = bed.house.root().join("hosts");
        std::fs::create_dir_all(hosts.join("nowhere.test")).unwrap();
        let text = format!("server = \"http://{}\"\n", peer.host);
        std::fs::write(hosts.join("nowhere.test/hosts.toml"), text).unwrap();
        let from = |resolver: wire::RegistryResolver| wire::OciRegistry {
            reference: "nowhere.test/app:v1".to_owned(),
            resolver: Some(resolver),
        };
        let by_hosts = from(wire::RegistryResolver {
            host_dir: hosts.display().to_string(),
            ..Default::default()
        });
        bed.transfer(pack(&by_hosts), pack(&store("hosted:1"))).await.unwrap();
        assert_eq!(bed.images(&bed.caller).await["hosted:1"], image.index);
        std::fs::write(hosts.join("nowhere.test/hosts.toml"), "sever = \"x\"\n").unwrap();
        let error = bed
            .transfer(pack(&by_hosts), pack(&store("hosted:1")))
            .await
            .unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument);
        assert!(error.message().contains("sever"), "{error}");
        for (resolver, said) in [
            (
                wire::RegistryResolver {
                    default_scheme: "ftp".to_owned(),
                    ..Default::default()
                },
                "ftp",
            ),
            (
                wire::RegistryResolver {
                    headers: [("a b".to_owned(), "c".to_owned())].into(),
                    ..Default::default()
                },
                "\"a b\"",
            ),
            (
                wire::RegistryResolver {
                    http_debug: 9,
                    ..Default::default()
                },
                "http_debug 9",
            ),
        ] {
            let error = bed
                .transfer(pack(&from(resolver)), pack(&store("x:1")))
                .await
                .unwrap_err();
            assert_eq!(error.code(), Code::InvalidArgument, "{error}");
            assert!(error.message().contains(said), "{error}");
        }
    });
}
