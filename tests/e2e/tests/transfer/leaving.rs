//! Clients that go, streams that go, and ends that do not fit.

use crate::bed::{registry, store, transfer, with};
use gantry_e2e::PATIENCE;
use gantry_proto_containerd::any::{is, pack};
use gantry_proto_containerd::services::leases::v1 as leases;
use gantry_proto_containerd::types::transfer as wire;
use tokio::io::AsyncReadExt;
use tonic::Code;

#[test]
fn a_transfer_ends_with_its_client() {
    with(|bed| async move {
        // A registry that hears and never answers.
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let from = wire::OciRegistry {
            resolver: Some(wire::RegistryResolver {
                default_scheme: "http".to_owned(),
                ..Default::default()
            }),
            ..registry(&format!("{host}/silent:1"))
        };
        let caller = bed.caller.clone();
        let asking = tokio::spawn(async move { transfer(&caller, pack(&from), pack(&store("x:1")), "").await });
        let (mut heard, _) = tokio::time::timeout(PATIENCE, listener.accept())
            .await
            .unwrap()
            .unwrap();
        let mut request = [0; 1024];
        assert!(heard.read(&mut request).await.unwrap() > 0);
        asking.abort();
        let closed = async {
            // What is left of the request, and then the end.
            while heard.read(&mut request).await.unwrap_or(0) > 0 {}
        };
        tokio::time::timeout(PATIENCE, closed)
            .await
            .expect("the daemon hangs up");
        assert!(bed.images(&bed.caller).await.is_empty());
    });
}

#[test]
fn an_import_ends_with_its_stream() {
    with(|bed| async move {
        let (to, mut from) = bed.open(&bed.caller, "broken").await.unwrap();
        let source = wire::ImageImportStream {
            stream: "broken".to_owned(),
            ..wire::ImageImportStream::default()
        };
        let caller = bed.caller.clone();
        let importing = tokio::spawn(async move { transfer(&caller, pack(&source), pack(&store("x:1")), "").await });
        // Somebody reads: the import has begun.
        let window = tokio::time::timeout(PATIENCE, from.message()).await.unwrap().unwrap();
        assert!(window.is_some_and(|message| is::<wire::WindowUpdate>(&message)));
        let data = wire::Data {
            data: vec![b'x'; 100].into(),
        };
        to.send(pack(&data)).await.unwrap();
        drop((to, from));
        let error = tokio::time::timeout(PATIENCE, importing)
            .await
            .unwrap()
            .unwrap()
            .unwrap_err();
        assert!(
            matches!(
                error.code(),
                Code::Cancelled | Code::Unavailable | Code::InvalidArgument
            ),
            "{error}"
        );
        assert!(bed.images(&bed.caller).await.is_empty());
    });
}

#[test]
fn a_stream_goes_with_its_lease_and_stays_in_its_namespace() {
    with(|bed| async move {
        let request = leases::CreateRequest {
            id: "short".to_owned(),
            ..Default::default()
        };
        bed.caller.leases().create(request).await.unwrap();
        let under = bed.caller.under("short");
        let (_to, mut from) = bed.open(&under, "leased").await.unwrap();
        let source = wire::ImageImportStream {
            stream: "leased".to_owned(),
            ..wire::ImageImportStream::default()
        };
        let elsewhere = bed.caller.connection().of("two");
        let error = transfer(&elsewhere, pack(&source), pack(&store("x:1")), "")
            .await
            .unwrap_err();
        assert_eq!(error.code(), Code::NotFound, "{error}");
        let request = leases::DeleteRequest {
            id: "short".to_owned(),
            sync: false,
        };
        bed.caller.leases().delete(request).await.unwrap();
        let ended = tokio::time::timeout(PATIENCE, from.message())
            .await
            .expect("the stream ends");
        assert!(matches!(ended, Ok(None)), "{ended:?}");
        let error = bed.transfer(pack(&source), pack(&store("x:1"))).await.unwrap_err();
        assert_eq!(error.code(), Code::NotFound, "{error}");
        let error = bed.open(&under, "late").await.unwrap_err();
        assert_eq!(error.code(), Code::NotFound, "{error}");
        let error = transfer(&under, pack(&store("a")), pack(&store("b")), "")
            .await
            .unwrap_err();
        assert!(error.message().contains("lease"), "{error}");
    });
}

#[test]
fn ends_that_do_not_fit_are_not_implemented() {
    with(|bed| async move {
        let (store, registry) = (pack(&store("a:1")), pack(&registry("example.org/a:1")));
        let import = pack(&wire::ImageImportStream::default());
        let export = pack(&wire::ImageExportStream::default());
        let path = pack(&wire::ContainerPath::default());
        for (source, destination) in [
            (&registry, &registry),
            (&registry, &export),
            (&import, &registry),
            (&export, &store),
            (&store, &import),
            (&path, &store),
            (&store, &path),
        ] {
            let error = bed.transfer(source.clone(), destination.clone()).await.unwrap_err();
            assert_eq!(
                error.code(),
                Code::Unimplemented,
                "{} {}",
                source.type_url,
                destination.type_url
            );
        }
        let error = bed.transfer(store.clone(), registry.clone()).await.unwrap_err();
        assert_eq!(error.code(), Code::NotFound, "{error}");
    });
}
