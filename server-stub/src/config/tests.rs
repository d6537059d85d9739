use super::*;

const SECRETS: &str = "site-key = \"000102030405060708090a0b0c0d0e0f\"\n\
    private-key = \"5152535455565758595a5b5c5d5e5f606162636465666768696a6b6c6d6e6f70\"\n";

fn parse(rest: &str) -> Result<ServerConfig, ConfigError> {
    ServerConfig::parse(Path::new("dir/server.toml"), &format!("{SECRETS}{rest}"))
}

#[test]
fn the_least_that_is_needed() {
    let config =
        parse("[[locks]]\nid = \"1112131415161718\"\n[[phones]]\nid = \"0102030405060708\"\nimei = \"490154203237518\"\n").unwrap();
    assert_eq!(config.store, StorePlace::File("dir/server.db".into()));
    assert_eq!(config.tls.unwrap().certificate, Path::new("dir/server.crt"));
    assert_eq!(config.register.locks[0].system, "door");
    assert_eq!(config.register.phones[0].identifiers[0].whole(), "490154203237518");
    assert!(config.admin_token.is_none() && config.register.phones[0].chip.is_none());
}

#[test]
fn everything() {
    let config = parse(
        "store = \":memory:\"\nstore-key = \"00112233445566778899aabbccddeeff\"\nlisten = \"[::1]:0\"\nplain = true\n\
         admin-token = \"0123456789abcdef\"\n[limits]\npoll-ms = 100\n[laboratory]\nplain-identities = true\n\
         [[systems]]\nname = \"door\"\napplication = \"cr\"\n\
         [[locks]]\nid = \"1112131415161718\"\nmac = \"02-00-5e-10-00-01\"\nimsi = \"001010000000001\"\ngroups = [\"front\"]\nwindow = \"02:00-04:00\"\n\
         chip-kvn = 0x31\nchip-enc = \"404142434445464748494a4b4c4d4e4f\"\nchip-mac = \"404142434445464748494a4b4c4d4e4f\"\n\
         chip-dek = \"404142434445464748494a4b4c4d4e4f\"\n\
         [[grants]]\nphone = \"0102030405060708\"\ngroup = \"front\"\nuntil = \"2030-01-01T00:00:00Z\"\nweakest = \"aka\"\n\
         [[providers]]\nname = \"p\"\nkey = \"02be577b5b33b8c3dcfa81858593d84938203e78ba10f87fb75376eea937d5592a\"\n\
         [[applications]]\nname = \"cr\"\nversion = \"1.2\"\nelf = \"f0544150444f4f52a1\"\nmodule = \"f0544150444f4f52a101\"\n\
         aid = \"f0544150444f4f5201\"\nload-file = \"cr.tlf\"\n",
    )
    .unwrap();
    let lock = &config.register.locks[0];
    let keys = config
        .sealer
        .open(crate::registry::ChipRef::Lock(lock.id), lock.chip.as_ref().unwrap())
        .unwrap();
    assert_eq!((keys.kvn, keys.dek[0]), (0x31, 0x40));
    assert_eq!(config.limits.poll, Duration::from_millis(100));
    assert!(config.plain_identities && config.tls.is_none());
    assert_eq!(config.register.applications[0].load_file, Path::new("dir/cr.tlf"));
}

#[test]
fn faults_are_named_with_line_and_field() {
    let cases = [
        ("bogus = 1\n", "bogus"),
        ("listen = \"here\"\n", "address and a port"),
        ("plain = true\nlisten = \"0.0.0.0:80\"\n", "loopback only"),
        ("admin-token = \"short\"\n", "16 characters"),
        ("store-key = \"00\"\n", "16 or 32 bytes"),
        (
            "[[phones]]\nid = \"0102030405060708\"\nimei = \"490154203237519\"\n",
            "server.toml:5: field `imei`: the last digit",
        ),
        ("[[locks]]\nid = \"0102030405060708\"\nmac = \"02\"\n", "field `mac`"),
        ("[[locks]]\nid = \"0102030405060708\"\nchip-kvn = 48\n", "give all three"),
        ("[[locks]]\nid = \"0102030405060708\"\nwindow = \"2-3\"\n", "maintenance window"),
        ("[[grants]]\nphone = \"0102030405060708\"\n", "`lock` or a `group`"),
    ];
    for (text, expected) in cases {
        let error = parse(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
    // Secrets are never quoted.
    let text = format!("{SECRETS}store-key = \"secretsecretsecret\"");
    let error = ServerConfig::parse(Path::new("x"), &text).unwrap_err().to_string();
    assert!(!error.contains("secretsecret"), "{error}");
}

#[test]
fn plain_http_stays_on_loopback() {
    let mut config = parse("plain = true\n").unwrap();
    assert!(config.listen_on(([192, 0, 2, 1], 80).into()).is_err());
    assert!(config.listen_on(([127, 0, 0, 1], 0).into()).is_ok());
}
