//! Downloaded applets for tests: modules written as text, the committed ones, a source of random numbers that is none.
#![allow(dead_code, missing_docs, clippy::unwrap_used, clippy::panic)]

use std::path::PathBuf;

use tapdoor_chip::sandbox::{Code, Limits};
use tapdoor_chip::{Chip, RandomSource};
use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::vault::VaultError;

/// The load file and the module of the applets that are written as text.
pub const ELF: &[u8] = b"\xF0TAPDOOR\xAF";
pub const MODULE: &[u8] = b"\xF0TAPDOOR\xAF\x01";

/// Limits that make tests quick.
pub fn limits() -> Limits {
    Limits {
        fuel: 300_000,
        ..Limits::default()
    }
}

/// Bytes as a string of WebAssembly text.
pub fn text(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("\\{b:02x}")).collect()
}

/// The custom section of a module with one program; role 1 is a phone's half, 2 a lock's.
pub fn declaration(role: u8) -> String {
    let module = [&[0x4F, 10][..], MODULE, &[0x82, 1, 1, 0x83, 1, role, 0x84, 4], b"test"].concat();
    let section = [
        &[0x80, 1, 1, 0x4F, 9][..],
        ELF,
        &[0x81, 2, 1, 0, 0xE1, u8::try_from(module.len()).unwrap()],
        &module,
    ];
    format!("(@custom \"tapdoor\" \"{}\")", text(&section.concat()))
}

/// A whole module: one page of memory, entries that do nothing unless `body` has its own, the custom section.
pub fn wat(imports: &str, body: &str, role: u8) -> String {
    let entry = |name: &str, default: &str| {
        if body.contains(&format!("(export \"{name}\")")) {
            String::new()
        } else {
            default.to_owned()
        }
    };
    format!(
        "(module {imports} {memory} {body} {select} {process} {deselect} {declaration})",
        memory = entry("memory", "(memory (export \"memory\") 1)"),
        select = entry(
            "select",
            "(func (export \"select\") (param i32 i32) (result i32) (i32.const 0x9000))"
        ),
        process = entry(
            "process",
            "(func (export \"process\") (param i32 i32) (result i32) (i32.const 0x9000))"
        ),
        deselect = entry("deselect", "(func (export \"deselect\") (param i32))"),
        declaration = declaration(role),
    )
}

pub fn compile(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// Checks and instantiates such a module.
pub fn code(imports: &str, body: &str, role: u8, limits: &Limits) -> Code {
    let text = wat(imports, body, role);
    Code::check(&compile(&text), limits).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// `(import "tapdoor" "name" (func $name (param i32 ..) (result i32)))` for each of the names.
pub fn imports(names: &[&str]) -> String {
    names
        .iter()
        .map(|name| {
            let function = tapdoor_chip::sandbox::abi::Function::from_name(name).unwrap();
            let parameters = " i32".repeat(function.parameters().len());
            format!("(import \"tapdoor\" \"{name}\" (func ${name} (param{parameters}) (result i32)))")
        })
        .collect()
}

/// Puts a program behind an application that the chip has.
pub fn replace(chip: &mut Chip, aid: &Aid, code: &Code, module: &Aid, parameters: &[u8]) {
    assert!(chip.replace_program(aid, code.applet(module, parameters).unwrap()), "{aid}");
}

/// The committed applets, or those in `TAPDOOR_APPLETS` (`applets/build --check` sets it to the rebuilt ones).
pub fn committed(name: &str) -> Vec<u8> {
    let folder = std::env::var_os("TAPDOOR_APPLETS")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../applets")), PathBuf::from);
    let path = folder.join(name).with_extension("wasm");
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}; applets/build makes it", path.display()))
}

/// Numbers that are the same in every run (xorshift64*).
#[derive(Clone, Debug)]
pub struct Fixed(pub u64);

impl RandomSource for Fixed {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), VaultError> {
        for byte in out {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            *byte = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D).to_be_bytes()[0];
        }
        Ok(())
    }
}
