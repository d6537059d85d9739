//! A module that was checked and compiled once, and can be run many times.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tapdoor_protocol::aid::Aid;
use wasmi::{CompilationMode, Config, EnforcedLimits, Engine, Error, ExternType, FuncType, Linker, Module, StoreLimits, Val, ValType};

use super::abi::{self, Function};
use super::applet::Downloaded;
use super::declaration::{Declaration, ModuleInfo};
use super::instance::{Instance, Request};
use super::{Limits, SandboxError, sections};
use crate::applet::Applet;

/// Bytes of the interpreter's own stack: far more than the nesting of calls that the limits allow needs.
const STACK: usize = 256 * 1024;

/// A checked module. Cheap to clone: the compiled code is shared.
#[derive(Clone)]
pub struct Code(Arc<Compiled>);

/// Everything that instances have in common. Each code has its own engine, so that code that is deleted gives its memory back.
pub(super) struct Compiled {
    pub limits: Limits,
    pub engine: Engine,
    pub module: Module,
    pub linker: Linker<StoreLimits>,
    declaration: Declaration,
}

impl Code {
    /// Checks and compiles a module. Nothing of it runs, and whatever the bytes are, this does not panic.
    ///
    /// # Errors
    /// [`SandboxError`], which says what is wrong with the module.
    pub fn check(bytes: &[u8], limits: &Limits) -> Result<Self, SandboxError> {
        if bytes.len() > limits.module {
            return Err(SandboxError::TooLarge {
                got: bytes.len(),
                limit: limits.module,
            });
        }
        // Cheap and strict first: the compiler sees only what has few sections of known sizes and says who it is.
        let declaration = Declaration::parse(sections::walk(bytes, limits)?.declaration)?;
        let invalid = |error: Error| SandboxError::Invalid(error.to_string());
        let engine = Engine::new(&config(limits));
        let module = compile(&engine, bytes)?;
        check_imports(&module)?;
        check_exports(&module)?;
        let linker = linker(&engine).map_err(invalid)?;
        let compiled = Arc::new(Compiled {
            limits: *limits,
            engine,
            module,
            linker,
            declaration,
        });
        // Segments beyond their memory or table, and a memory beyond the limit, show only now. No code of the module runs here.
        Instance::new(&compiled).map_err(|reason| SandboxError::Instantiate {
            memory: limits.memory,
            reason,
        })?;
        Ok(Self(compiled))
    }

    /// AID of the executable load file, as its author wrote it into the module.
    #[must_use]
    pub fn elf(&self) -> &Aid {
        &self.0.declaration.elf
    }

    /// Its version: major, minor.
    #[must_use]
    pub fn version(&self) -> [u8; 2] {
        self.0.declaration.version
    }

    /// The executable modules in it.
    #[must_use]
    pub fn modules(&self) -> &[ModuleInfo] {
        &self.0.declaration.modules
    }

    /// The executable module with this AID, if there is one.
    #[must_use]
    pub fn module(&self, aid: &Aid) -> Option<&ModuleInfo> {
        self.modules().iter().find(|m| m.aid == *aid)
    }

    /// Checks that the code is what its load file says: the same AID and version.
    ///
    /// # Errors
    /// [`SandboxError::Identity`].
    pub fn expect(&self, elf: &Aid, version: [u8; 2]) -> Result<(), SandboxError> {
        if (self.elf(), self.version()) == (elf, version) {
            return Ok(());
        }
        Err(SandboxError::Identity {
            expected: *elf,
            expected_version: version,
            got: *self.elf(),
            got_version: self.version(),
        })
    }

    /// An application that runs this module. `parameters` is what its instance was installed and personalised with, at most 32 KiB.
    ///
    /// # Errors
    /// [`SandboxError::UnknownModule`].
    pub fn applet(&self, module: &Aid, parameters: &[u8]) -> Result<Box<dyn Applet>, SandboxError> {
        let module = self.module(module).ok_or(SandboxError::UnknownModule(*module))?;
        Ok(Box::new(Downloaded::new(self.0.clone(), module, parameters)))
    }

    /// What the module imports, as (module, name), in the order of its import section.
    pub fn imports(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.module.imports().map(|import| (import.module(), import.name()))
    }

    /// The names of what the module exports.
    pub fn exports(&self) -> impl Iterator<Item = &str> {
        self.0.module.exports().map(|export| export.name())
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Code").field(&self.0.declaration).finish()
    }
}

/// WebAssembly 1.0 with what compilers of today use by default; no floating point, one memory of 32 bits. SIMD is not built in.
fn config(limits: &Limits) -> Config {
    let mut config = Config::default();
    config
        .consume_fuel(true)
        .compilation_mode(CompilationMode::Eager)
        .enforced_limits(EnforcedLimits::strict())
        .allow_start_fn(false)
        .ignore_custom_sections(true)
        .floats(false)
        .wasm_memory64(false)
        .wasm_multi_memory(false)
        .wasm_custom_page_sizes(false)
        .wasm_wide_arithmetic(false)
        .wasm_tail_call(false)
        .set_max_recursion_depth(limits.recursion)
        .set_min_stack_height(STACK / 16)
        .set_max_stack_height(STACK)
        .set_max_cached_stacks(1);
    config
}

/// Validates the whole module, and only then translates it: the translator takes for granted that what it sees is valid, and does not always
/// survive the contrary (a function that ends before its body does, for one). Should it fail all the same, the chip does not.
fn compile(engine: &Engine, bytes: &[u8]) -> Result<Module, SandboxError> {
    let invalid = |error: Error| SandboxError::Invalid(error.to_string());
    Module::validate(engine, bytes).map_err(invalid)?;
    // The engine is this module's own and is dropped with the error, so nothing half done is seen again.
    catch_unwind(AssertUnwindSafe(|| Module::new(engine, bytes)))
        .map_err(|_| SandboxError::Invalid("the translator failed on it".into()))?
        .map_err(invalid)
}

fn host_type(function: Function) -> FuncType {
    FuncType::new(function.parameters().iter().map(|_| ValType::I32), [ValType::I32])
}

/// Host functions do nothing but stop the interpreter: [`Instance`] serves the request with the vault in hand and goes on.
fn linker(engine: &Engine) -> Result<Linker<StoreLimits>, Error> {
    let mut linker = Linker::new(engine);
    for &function in Function::ALL {
        linker.func_new(abi::MODULE, function.name(), host_type(function), move |_, values, _| {
            let mut arguments = [0; abi::MOST_PARAMETERS];
            for (to, value) in arguments.iter_mut().zip(values) {
                if let Val::I32(value) = value {
                    *to = value.cast_unsigned();
                }
            }
            Err(Error::host(Request { function, arguments }))
        })?;
    }
    Ok(linker)
}

fn check_imports(module: &Module) -> Result<(), SandboxError> {
    for import in module.imports() {
        let wrong = |reason| SandboxError::Import {
            module: import.module().into(),
            name: import.name().into(),
            reason,
        };
        if import.module() != abi::MODULE {
            return Err(wrong("only the module \"tapdoor\" is there"));
        }
        let function = Function::from_name(import.name()).ok_or_else(|| wrong("there is no such function"))?;
        match import.ty() {
            ExternType::Func(ty) if *ty == host_type(function) => {}
            ExternType::Func(_) => return Err(wrong("the function has other parameters or results")),
            _ => return Err(wrong("only functions can be imported")),
        }
    }
    Ok(())
}

fn check_exports(module: &Module) -> Result<(), SandboxError> {
    if !matches!(module.get_export("memory"), Some(ExternType::Memory(_))) {
        return Err(SandboxError::Export {
            name: "memory",
            expected: "its memory",
        });
    }
    let entries: [(&'static str, usize, &[ValType], &'static str); 3] = [
        ("select", 2, &[ValType::I32], "(i32 entry, i32 p2) -> i32"),
        ("process", 2, &[ValType::I32], "(i32 entry, i32 length) -> i32"),
        ("deselect", 1, &[], "(i32 entry)"),
    ];
    for (name, parameters, results, expected) in entries {
        let ty = FuncType::new(vec![ValType::I32; parameters], results.iter().copied());
        match module.get_export(name) {
            Some(ExternType::Func(got)) if got == ty => {}
            _ => return Err(SandboxError::Export { name, expected }),
        }
    }
    Ok(())
}
