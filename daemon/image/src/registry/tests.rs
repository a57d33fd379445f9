use super::*;

fn endpoints(config: RegistryConfig, reference: &str) -> Vec<(String, bool)> {
    let registries = Arc::new(Registries::new(config).unwrap());
    let repository = registries
        .repository(&Reference::parse(reference).unwrap(), Access::default())
        .unwrap();
    repository.endpoints.iter().map(|e| (e.base.clone(), e.lax)).collect()
}

#[test]
fn endpoints_follow_domain_and_settings() {
    let config = || RegistryConfig {
        insecure: vec!["plain.test:5000".into(), "10.1.0.0/16".into()],
        mirrors: BTreeMap::from([(
            "docker.io".into(),
            vec!["http://127.0.0.1:5001/".into(), "https://m.test/p".into()],
        )]),
        ..RegistryConfig::default()
    };
    for (reference, want) in [
        ("ghcr.io/a/b", vec![("https://ghcr.io", false)]),
        (
            "localhost:5000/x",
            vec![("https://localhost:5000", true), ("http://localhost:5000", true)],
        ),
        (
            "[::1]:5000/x",
            vec![("https://[::1]:5000", true), ("http://[::1]:5000", true)],
        ),
        (
            "10.1.2.3/x",
            vec![("https://10.1.2.3", true), ("http://10.1.2.3", true)],
        ),
        ("10.2.2.3/x", vec![("https://10.2.2.3", false)]),
        (
            "plain.test:5000/x",
            vec![("https://plain.test:5000", true), ("http://plain.test:5000", true)],
        ),
        ("plain.test/x", vec![("https://plain.test", false)]),
        (
            "busybox",
            vec![
                ("http://127.0.0.1:5001", true),
                ("https://m.test/p", false),
                ("https://registry-1.docker.io", false),
            ],
        ),
    ] {
        let want: Vec<_> = want.into_iter().map(|(base, lax)| (base.to_owned(), lax)).collect();
        assert_eq!(endpoints(config(), reference), want, "{reference}");
    }
}

#[test]
fn bad_settings_are_named() {
    let mirror = |url: &str| RegistryConfig {
        mirrors: BTreeMap::from([("docker.io".into(), vec![url.into()])]),
        ..RegistryConfig::default()
    };
    for url in ["m.test", "ftp://m.test", "https://", "https://m?x=1"] {
        let error = Registries::new(mirror(url)).err().expect(url);
        assert!(error.to_string().contains(url), "{error}");
    }
}

#[test]
fn redirects_are_resolved() {
    let from: ::http::Uri = "https://a.test:1/v2/x/blobs/1?q=1".parse().unwrap();
    for (to, want) in [
        ("https://b.test/y", Some("https://b.test/y")),
        ("/z?k=v", Some("https://a.test:1/z?k=v")),
        ("//c.test/y", Some("https://c.test/y")),
        ("2", Some("https://a.test:1/v2/x/blobs/2")),
        ("file:///etc/passwd", None),
    ] {
        let got = super::http::resolve(&from, to).map(|uri| uri.to_string());
        assert_eq!(got.as_deref(), want, "{to}");
    }
}
