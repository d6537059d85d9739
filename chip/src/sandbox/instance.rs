//! One running copy of a module: its memory, its fuel, and the way of a host function's request out of the interpreter and back.
//!
//! A host function cannot hold the vault, which the chip lends for one command only. So every call of one stops the interpreter with a
//! [`Request`]; [`Instance::call`] gives it to whoever serves, and resumes. An applet that must be stopped is simply not resumed.

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;

use wasmi::errors::HostError;
use wasmi::{Error, Func, Memory, ResumableCall, Store, StoreLimits, StoreLimitsBuilder, TrapCode, Val};

use super::Fault;
use super::abi::{FUEL_PER_BYTE, Function, LONGEST, MOST_PARAMETERS};
use super::code::Compiled;

/// A host function was called.
#[derive(Debug)]
pub(super) struct Request {
    pub function: Function,
    pub arguments: [u32; MOST_PARAMETERS],
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "request for {}", self.function)
    }
}

impl HostError for Request {}

/// What of a module is called.
#[derive(Clone, Copy, Debug)]
pub(super) enum Entry {
    Select { p2: u8 },
    Process { length: usize },
    Deselect,
}

/// A request being served: its arguments, and the memory they point into.
pub(super) struct Call<'a> {
    pub function: Function,
    arguments: [u32; MOST_PARAMETERS],
    memory: &'a mut [u8],
    /// Bytes taken and given, for the bill.
    moved: Cell<usize>,
}

impl Call<'_> {
    /// Argument `n`.
    pub fn number(&self, n: usize) -> u32 {
        self.arguments.get(n).copied().unwrap_or(0)
    }

    /// The bytes at argument `n`, as many as argument `n + 1` says.
    pub fn bytes(&self, n: usize) -> Result<&[u8], Fault> {
        let (pointer, length) = (self.number(n), self.number(n + 1));
        if length as usize > LONGEST {
            return Err(self.wrong("length", length));
        }
        self.moved(length as usize);
        self.range(pointer, length)
            .and_then(|range| self.memory.get(range))
            .ok_or_else(|| self.outside(pointer, length))
    }

    /// N bytes at argument `n`.
    pub fn array<const N: usize>(&self, n: usize) -> Result<[u8; N], Fault> {
        let (pointer, length) = (self.number(n), u32::try_from(N).unwrap_or(u32::MAX));
        self.range(pointer, length)
            .and_then(|range| self.memory.get(range))
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or_else(|| self.outside(pointer, length))
    }

    /// The place that argument `n` points to and argument `n + 1` measures.
    pub fn place(&mut self, n: usize) -> Result<&mut [u8], Fault> {
        let (pointer, length) = (self.number(n), self.number(n + 1));
        if length as usize > LONGEST {
            return Err(self.wrong("length", length));
        }
        let outside = self.outside(pointer, length);
        let range = self.range(pointer, length);
        self.moved(length as usize);
        range.and_then(|range| self.memory.get_mut(range)).ok_or(outside)
    }

    /// Writes all of `bytes` at argument `n`.
    pub fn write(&mut self, n: usize, bytes: &[u8]) -> Result<i32, Fault> {
        let (pointer, length) = (self.number(n), u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        let outside = self.outside(pointer, length);
        let range = self.range(pointer, length);
        self.moved(bytes.len());
        range
            .and_then(|range| self.memory.get_mut(range))
            .ok_or(outside)?
            .copy_from_slice(bytes);
        Ok(0)
    }

    /// Writes `bytes` at argument `n` if they fit into argument `n + 1`; the answer is their length either way.
    pub fn give(&mut self, n: usize, bytes: &[u8]) -> Result<i32, Fault> {
        if bytes.len() <= self.number(n + 1) as usize {
            self.write(n, bytes)?;
        }
        Ok(i32::try_from(bytes.len()).unwrap_or(i32::MAX))
    }

    /// The applet gave a number that means nothing here.
    pub fn wrong(&self, what: &'static str, got: u32) -> Fault {
        Fault::Argument {
            function: self.function.name(),
            what,
            got,
        }
    }

    fn moved(&self, bytes: usize) {
        self.moved.set(self.moved.get().saturating_add(bytes));
    }

    fn range(&self, pointer: u32, length: u32) -> Option<std::ops::Range<usize>> {
        let end = pointer.checked_add(length)?;
        let range = usize::try_from(pointer).ok()?..usize::try_from(end).ok()?;
        (range.end <= self.memory.len()).then_some(range)
    }

    fn outside(&self, pointer: u32, length: u32) -> Fault {
        Fault::Pointer {
            function: self.function.name(),
            pointer,
            length,
            memory: self.memory.len(),
        }
    }
}

/// Who serves the requests of a running applet.
pub(super) trait Serve {
    fn serve(&mut self, call: &mut Call<'_>) -> Result<i32, Fault>;
}

pub(super) struct Instance {
    code: Arc<Compiled>,
    store: Store<StoreLimits>,
    memory: Memory,
    select: Func,
    process: Func,
    deselect: Func,
}

impl Instance {
    /// Sets up memory and tables. No code of the module runs.
    pub fn new(code: &Arc<Compiled>) -> Result<Self, String> {
        let limits = StoreLimitsBuilder::new()
            .memory_size(code.limits.memory)
            .table_elements(code.limits.table)
            .instances(1)
            .tables(1)
            .memories(1)
            .build();
        let mut store = Store::new(&code.engine, limits);
        store.limiter(|limits| limits);
        let text = |error: Error| error.to_string();
        // Copying the data segments is paid from here.
        store.set_fuel(code.limits.fuel).map_err(text)?;
        let instance = code.linker.instantiate_and_start(&mut store, &code.module).map_err(text)?;
        let func = |name: &str| instance.get_func(&store, name).ok_or_else(|| format!("{name} is not there"));
        Ok(Self {
            memory: instance.get_memory(&store, "memory").ok_or("memory is not there")?,
            select: func("select")?,
            process: func("process")?,
            deselect: func("deselect")?,
            code: code.clone(),
            store,
        })
    }

    /// Calls one of the three entries with fresh fuel; the result is what it returned (9000 for deselect, which returns nothing).
    pub fn call(&mut self, number: u8, entry: Entry, server: &mut impl Serve) -> Result<i32, Fault> {
        let number = Val::I32(i32::from(number));
        let (function, arguments) = match entry {
            Entry::Select { p2 } => (self.select, vec![number, Val::I32(i32::from(p2))]),
            Entry::Process { length } => (self.process, vec![number, Val::I32(i32::try_from(length).unwrap_or(i32::MAX))]),
            Entry::Deselect => (self.deselect, vec![number]),
        };
        let mut status = [Val::I32(0x9000)];
        let results: &mut [Val] = if matches!(entry, Entry::Deselect) { &mut [] } else { &mut status };
        let fuel = self.code.limits.fuel;
        let trap = |error: Error| match error.as_trap_code() {
            Some(TrapCode::OutOfFuel) => Fault::Fuel { limit: fuel },
            _ => Fault::Trap(error.to_string()),
        };
        self.store.set_fuel(fuel).map_err(trap)?;
        let mut call = function.call_resumable(&mut self.store, &arguments, results).map_err(trap)?;
        loop {
            call = match call {
                ResumableCall::Finished => break,
                ResumableCall::OutOfFuel(_) => return Err(Fault::Fuel { limit: fuel }),
                ResumableCall::HostTrap(stopped) => {
                    let Some(request) = stopped.host_error().downcast_ref::<Request>() else {
                        return Err(Fault::Trap(stopped.host_error().to_string()));
                    };
                    let answer = self.answer(request, server)?;
                    stopped.resume(&mut self.store, &[Val::I32(answer)], results).map_err(trap)?
                }
            };
        }
        match status {
            [Val::I32(status)] => Ok(status),
            _ => Err(Fault::Status(0)),
        }
    }

    /// Has a request served, and takes its price from the fuel: what it costs at least before, what it moved after.
    fn answer(&mut self, request: &Request, server: &mut impl Serve) -> Result<i32, Fault> {
        let function = request.function;
        self.pay(function.fuel())?;
        let mut call = Call {
            function,
            arguments: request.arguments,
            memory: self.memory.data_mut(&mut self.store),
            moved: Cell::new(0),
        };
        let answer = server.serve(&mut call)?;
        let moved = u64::try_from(call.moved.get()).unwrap_or(u64::MAX);
        self.pay(moved.saturating_mul(FUEL_PER_BYTE))?;
        Ok(answer)
    }

    fn pay(&mut self, price: u64) -> Result<(), Fault> {
        let limit = self.code.limits.fuel;
        let left = self.store.get_fuel().unwrap_or(0).checked_sub(price).ok_or(Fault::Fuel { limit })?;
        self.store.set_fuel(left).map_err(|error| Fault::Trap(error.to_string()))
    }
}

impl Drop for Instance {
    /// What the applet worked with does not stay behind in memory that is given back.
    fn drop(&mut self) {
        let memory = self.memory.data_mut(&mut self.store);
        memory.fill(0);
        std::hint::black_box(memory);
    }
}
