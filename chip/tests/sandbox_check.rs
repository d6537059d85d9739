//! What the sandbox does not take in: each module is wrong in one way, and is refused with that reason.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "common/sandbox.rs"]
mod sandbox;

use proptest::prelude::*;
use sandbox::{ELF, MODULE, committed, compile, imports, limits, text, wat};
use tapdoor_chip::sandbox::{Code, Limits, SandboxError};
use tapdoor_protocol::aid::Aid;

fn check(text: &str) -> Result<Code, SandboxError> {
    Code::check(&compile(text), &limits())
}

fn refused(imports: &str, body: &str) -> SandboxError {
    check(&wat(imports, body, 1)).expect_err(body)
}

#[test]
fn a_right_module_is_taken() {
    let code = check(&wat(&imports(&["output", "store"]), "", 1)).unwrap();
    assert_eq!((code.elf().as_bytes(), code.version()), (ELF, [1, 0]));
    let [module] = code.modules() else { panic!() };
    assert_eq!(
        (module.aid.as_bytes(), module.entry, module.lock_half, module.name.as_str()),
        (MODULE, 1, false, "test")
    );
    assert!(code.applet(&module.aid, &[]).is_ok());
    assert!(check(&wat("", "", 2)).unwrap().modules()[0].lock_half);
    let other = Aid::new(b"\xF0OTHER").unwrap();
    assert_eq!(code.applet(&other, &[]).err(), Some(SandboxError::UnknownModule(other)));
}

#[test]
fn a_load_file_of_another_name_or_version_is_no_match() {
    let code = check(&wat("", "", 1)).unwrap();
    let (elf, other) = (*code.elf(), Aid::new(MODULE).unwrap());
    assert_eq!(code.expect(&elf, [1, 0]), Ok(()));
    for (aid, version) in [(other, [1, 0]), (elf, [1, 1]), (elf, [2, 0])] {
        let Err(SandboxError::Identity {
            expected,
            got,
            got_version,
            ..
        }) = code.expect(&aid, version)
        else {
            panic!("{aid} {version:?} was taken");
        };
        assert_eq!((expected, got, got_version), (aid, elf, [1, 0]));
    }
}

#[test]
fn imports_are_those_of_the_interface() {
    let reason = |import: &str| match refused(import, "") {
        SandboxError::Import { reason, .. } => reason,
        other => panic!("{import}: {other}"),
    };
    let function = "(func (param i32 i32) (result i32))";
    assert_eq!(
        reason(&format!("(import \"env\" \"output\" {function})")),
        "only the module \"tapdoor\" is there"
    );
    assert_eq!(
        reason(&format!("(import \"wasi_snapshot_preview1\" \"fd_write\" {function})")),
        "only the module \"tapdoor\" is there"
    );
    assert_eq!(
        reason(&format!("(import \"tapdoor\" \"open\" {function})")),
        "there is no such function"
    );
    let wrong = "the function has other parameters or results";
    assert_eq!(reason("(import \"tapdoor\" \"output\" (func (param i32) (result i32)))"), wrong);
    assert_eq!(reason("(import \"tapdoor\" \"output\" (func (param i32 i32)))"), wrong);
    assert_eq!(reason("(import \"tapdoor\" \"output\" (func (param i32 i64) (result i32)))"), wrong);
    assert_eq!(
        reason("(import \"tapdoor\" \"output\" (global i32))"),
        "only functions can be imported"
    );
    assert_eq!(
        reason("(import \"tapdoor\" \"output\" (table 1 funcref))"),
        "only functions can be imported"
    );
    let memory = "(module (import \"tapdoor\" \"memory\" (memory 1)) (export \"memory\" (memory 0)) ";
    let text = wat("", "", 1)
        .replace("(module", memory)
        .replace("(memory (export \"memory\") 1)", "");
    assert!(matches!(check(&text), Err(SandboxError::Import { .. })));
}

#[test]
fn exports_are_those_of_the_interface() {
    let export = |error: SandboxError| match error {
        SandboxError::Export { name, .. } => name,
        other => panic!("{other}"),
    };
    assert_eq!(export(refused("", "(global (export \"memory\") i32 (i32.const 0))")), "memory");
    assert_eq!(
        export(refused("", "(func (export \"select\") (param i32) (result i32) (i32.const 0))")),
        "select"
    );
    assert_eq!(export(refused("", "(func (export \"process\") (param i32 i32))")), "process");
    assert_eq!(
        export(refused(
            "",
            "(func (export \"process\") (param i32 i64) (result i32) (i32.const 0))"
        )),
        "process"
    );
    assert_eq!(
        export(refused("", "(func (export \"deselect\") (param i32) (result i32) (i32.const 0))")),
        "deselect"
    );
    let missing = wat("", "", 1).replace("(export \"process\")", "");
    assert_eq!(export(check(&missing).unwrap_err()), "process");
}

#[test]
fn nothing_runs_by_itself_and_nothing_is_without_bounds() {
    assert_eq!(refused("", "(func $f) (start $f)"), SandboxError::Start);
    let counts = |error: SandboxError| match error {
        SandboxError::TooMany { what, got, limit } => (what, got, limit),
        other => panic!("{other}"),
    };
    let limits = limits();
    let globals = "(global i32 (i32.const 0))".repeat(65);
    assert_eq!(counts(refused("", &globals)), ("globals", 65, limits.globals));
    assert_eq!(counts(refused("", "(table 1 funcref) (table 1 funcref)")), ("tables", 2, 1));
    assert_eq!(counts(refused("", "(memory 1)")), ("memories", 2, 1));
    let many = r#"(import "tapdoor" "output" (func (param i32 i32) (result i32)))"#.repeat(65);
    assert_eq!(counts(refused(&many, "")), ("imports", 65, 64));
    let functions = "(func)".repeat(4096);
    assert_eq!(counts(refused("", &functions)).0, "functions");

    // Memories, tables and segments beyond what there is.
    for body in [
        "(memory (export \"memory\") 5)",
        "(memory (export \"memory\") 65536)",
        "(table 1025 funcref)",
        "(table 4294967295 funcref)",
        "(data (i32.const 65530) \"0123456789\")",
        "(table 1 funcref) (func $f) (elem (i32.const 1) $f)",
    ] {
        assert!(matches!(refused("", body), SandboxError::Instantiate { .. }), "{body}");
    }
    // What a compiler may use and this chip does not run.
    for body in [
        "(func (result f32) (f32.const 1))",
        "(func (param f64))",
        "(memory (export \"memory\") i64 1)",
        "(func (result v128) (v128.const i64x2 0 0))",
    ] {
        assert!(matches!(refused("", body), SandboxError::Invalid(_)), "{body}");
    }
    let bytes = compile(&wat("", "", 1));
    let small = Limits {
        module: bytes.len() - 1,
        ..limits
    };
    assert_eq!(
        Code::check(&bytes, &small).unwrap_err(),
        SandboxError::TooLarge {
            got: bytes.len(),
            limit: bytes.len() - 1
        }
    );
}

#[test]
fn a_module_says_who_it_is_or_stays_outside() {
    let section = |bytes: &[u8]| {
        let text = wat("", "", 1);
        let begin = text.find("(@custom").unwrap();
        check(&format!("{}(@custom \"tapdoor\" \"{}\"))", &text[..begin], self::text(bytes))).unwrap_err()
    };
    let without = wat("", "", 1).replace("\"tapdoor\"", "\"other\"");
    assert_eq!(check(&without).unwrap_err(), SandboxError::Declaration("is missing"));
    let twice = wat("", &sandbox::declaration(1), 1);
    assert_eq!(check(&twice).unwrap_err(), SandboxError::Declaration("is there twice"));

    let elf = [&[0x4F, 9][..], ELF].concat();
    let module = |entry: u8| [&[0xE1, 24, 0x4F, 10][..], MODULE, &[0x82, 1, entry, 0x83, 1, 1, 0x84, 4], b"test"].concat();
    let whole = [&[0x80, 1, 1][..], &elf, &[0x81, 2, 1, 0], &module(1)].concat();
    let declared = |bytes: &[u8]| matches!(section(bytes), SandboxError::Declaration(_));
    assert!(declared(&[]));
    assert!(declared(&whole[..whole.len() - 1]), "cut off");
    assert!(declared(&whole[3..]), "no interface version");
    assert!(declared(&[&whole[..3], &whole[14..]].concat()), "no AID");
    assert!(declared(&[&whole[..14], &whole[18..]].concat()), "no version");
    assert!(declared(&whole[..18]), "no module");
    assert!(declared(&[&whole[..], &module(2)].concat()), "an AID twice");
    assert!(declared(&[&whole[..], &elf].concat()), "an object twice");
    assert!(declared(&[&whole[..], &[0x99, 0]].concat()), "an unknown object");
    let mut wrong = whole.clone();
    wrong[2] = 2;
    assert_eq!(section(&wrong), SandboxError::Abi { got: 2 });
    let mut wrong = whole.clone();
    let role = wrong.len() - 7;
    wrong[role] = 3;
    assert!(declared(&wrong), "an unknown role");
}

#[test]
fn what_is_no_webassembly_is_told_apart() {
    for bytes in [
        &b""[..],
        b"\0asm",
        b"\0asm\x02\0\0\0",
        b"\x7FELF\x02\x01\x01",
        &[0; 64],
        b"\0asm\x01\0\0\0\x01",
        b"\0asm\x01\0\0\0\x01\x80\x80",
    ] {
        assert!(
            matches!(Code::check(bytes, &limits()), Err(SandboxError::Invalid(_))),
            "{bytes:02x?}"
        );
    }
}

#[test]
fn a_function_that_ends_before_its_body_does_is_invalid() {
    let mut bytes = compile(&wat("", "(func (nop) (nop) (nop) (nop))", 1));
    let place = bytes.windows(5).position(|w| w == [1, 1, 1, 1, 0x0B]).unwrap();
    bytes[place + 1] = 0x0B;
    let Err(SandboxError::Invalid(reason)) = Code::check(&bytes, &limits()) else {
        panic!()
    };
    assert!(!reason.contains("translator"), "the validator sees it first: {reason}");
}

#[test]
fn errors_say_what_and_what_to_do() {
    let error = refused("(import \"env\" \"abort\" (func))", "");
    assert_eq!(
        error.to_string(),
        "the module imports \"env\".\"abort\": only the module \"tapdoor\" is there (docs/applets.md lists what may be imported)"
    );
    let error = refused("", "(func (export \"process\") (result i32) (i32.const 0))");
    assert_eq!(
        error.to_string(),
        "the module does not export process as (i32 entry, i32 length) -> i32"
    );
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes: Vec<u8>) {
        let _ = Code::check(&bytes, &limits());
        let _ = Code::check(&[b"\0asm\x01\0\0\0", &bytes[..]].concat(), &limits());
    }

    #[test]
    fn bent_modules_never_panic(changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6), cut: Option<prop::sample::Index>) {
        for mut bytes in [committed("challenge-response"), compile(&wat(&imports(&["output"]), "(table 3 funcref) (data (i32.const 8) \"data\")", 1))] {
            for (place, value) in &changes {
                let place = place.index(bytes.len());
                bytes[place] = *value;
            }
            if let Some(cut) = &cut {
                bytes.truncate(cut.index(bytes.len()));
            }
            let _ = Code::check(&bytes, &limits());
        }
    }
}
