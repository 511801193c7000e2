//! What a compiler can be asked to do, looked at before it is asked.
//!
//! A compiler's time and memory are not bounded by the size of what it is given: two megabytes of nested loops over fifty
//! thousand locals make it carry a hundred billion values. So a component is read once, in a fraction of a second, and what
//! would take out of proportion long is refused by the function that would take it. Whatever passes is compiled within
//! minutes, on a thread that stands back ([`super::Compiler`]).
//!
//! Nothing is validated here. What does not read is left to the compiler, which says why.

use wasmparser::{BinaryReaderError, BlockType, FuncType, FunctionBody, Operator, Parser, Payload, TypeRef};

/// Most functions of a component: an interpreter with its library has thirty thousand.
const FUNCTIONS_LIMIT: u64 = 200_000;

/// Largest function: the largest that people's compilers make, the loops of interpreters, have a tenth of this.
const FUNCTION_LIMIT_BYTES: u64 = 1 << 20;

/// Most values that a compiler may have to carry over the branches and calls of one function: every local over every
/// branch, and what calls pass. A loop of an interpreter with a thousand locals and five thousand branches has a tenth of
/// this.
const FUNCTION_LIMIT_VALUES: u64 = 50_000_000;

/// The same for all functions together.
const COMPONENT_LIMIT_VALUES: u64 = 2_000_000_000;

/// Most core modules and components in a component: the engine could not give each an instance.
const PARTS_LIMIT: u64 = 256;

/// What is too much for the compiler.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooHard {
    /// So many functions.
    #[error("it has more than {FUNCTIONS_LIMIT} functions")]
    Functions,
    /// One that is too large.
    #[error("its function {index} has {bytes} bytes, more than the limit of {FUNCTION_LIMIT_BYTES}")]
    LargeFunction {
        /// Which, counted over the component.
        index: u64,
        /// Its size.
        bytes: u64,
    },
    /// One that is too intricate.
    #[error(
        "its function {index} has too many locals for its branches and calls: a compiler would carry more than \
         {FUNCTION_LIMIT_VALUES} values over them"
    )]
    IntricateFunction {
        /// Which, counted over the component.
        index: u64,
    },
    /// All of them together.
    #[error(
        "its functions together are too intricate: a compiler would carry more than {COMPONENT_LIMIT_VALUES} values"
    )]
    Intricate,
    /// Modules and components in it.
    #[error("it consists of more than {PARTS_LIMIT} modules and components")]
    Parts,
}

/// What is known of the module that is being read.
#[derive(Default)]
struct Module {
    /// How many values functions of each type take and give.
    types: Vec<u64>,
    /// The type of each function, imported ones first.
    functions: Vec<u32>,
}

/// Sums over the component.
#[derive(Default)]
struct Sums {
    functions: u64,
    bodies: u64,
    values: u64,
    parts: u64,
}

/// Looks whether the compiler can be asked to compile this.
pub(super) fn check(bytes: &[u8]) -> Result<(), TooHard> {
    let mut sums = Sums::default();
    // What encloses the part that is being read comes back when that part ends.
    let mut modules = vec![Module::default()];
    for payload in Parser::new(0).parse_all(bytes) {
        let Ok(payload) = payload else { return Ok(()) };
        match payload {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => {
                sums.parts += 1;
                if sums.parts > PARTS_LIMIT {
                    return Err(TooHard::Parts);
                }
                modules.push(Module::default());
            }
            Payload::End(_) => drop(modules.pop()),
            payload => {
                let Some(module) = modules.last_mut() else { return Ok(()) };
                if module.read(payload, &mut sums)?.is_err() {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

impl Module {
    /// The inner error: it does not read.
    fn read(&mut self, payload: Payload<'_>, sums: &mut Sums) -> Result<Result<(), BinaryReaderError>, TooHard> {
        match payload {
            Payload::TypeSection(types) => {
                for ty in types.into_iter_err_on_gc_types() {
                    match ty {
                        Ok(ty) => self.types.push(arity(&ty)),
                        Err(error) => return Ok(Err(error)),
                    }
                }
            }
            Payload::ImportSection(imports) => {
                for import in imports.into_imports() {
                    match import.map(|import| import.ty) {
                        Ok(TypeRef::Func(ty)) => self.functions.push(ty),
                        Ok(_) => {}
                        Err(error) => return Ok(Err(error)),
                    }
                }
            }
            Payload::FunctionSection(functions) => {
                sums.functions += u64::from(functions.count());
                if sums.functions > FUNCTIONS_LIMIT {
                    return Err(TooHard::Functions);
                }
                for function in functions {
                    match function {
                        Ok(ty) => self.functions.push(ty),
                        Err(error) => return Ok(Err(error)),
                    }
                }
            }
            Payload::CodeSectionEntry(body) => return self.function(&body, sums),
            _ => {}
        }
        Ok(Ok(()))
    }

    fn function(&self, body: &FunctionBody<'_>, sums: &mut Sums) -> Result<Result<(), BinaryReaderError>, TooHard> {
        let (index, bytes) = (sums.bodies, body.range().len() as u64);
        sums.bodies += 1;
        if bytes > FUNCTION_LIMIT_BYTES {
            return Err(TooHard::LargeFunction { index, bytes });
        }
        let values = match self.values(body) {
            Ok(values) => values,
            Err(error) => return Ok(Err(error)),
        };
        if values > FUNCTION_LIMIT_VALUES {
            return Err(TooHard::IntricateFunction { index });
        }
        sums.values += values;
        if sums.values > COMPONENT_LIMIT_VALUES {
            return Err(TooHard::Intricate);
        }
        Ok(Ok(()))
    }

    /// The values that are carried over the branches and calls of a function.
    fn values(&self, body: &FunctionBody<'_>) -> Result<u64, BinaryReaderError> {
        let mut locals = 0_u64;
        for group in body.get_locals_reader()? {
            locals += u64::from(group?.0);
        }
        let (mut branches, mut widest, mut passed) = (0_u64, 0_u64, 0_u64);
        for operator in body.get_operators_reader()? {
            match operator? {
                Operator::Block { blockty } | Operator::Loop { blockty } | Operator::If { blockty } => {
                    branches += 1;
                    widest = widest.max(self.carried(blockty));
                }
                Operator::Else | Operator::Br { .. } | Operator::BrIf { .. } => branches += 1,
                Operator::BrTable { targets } => branches += u64::from(targets.len()) + 1,
                Operator::Call { function_index } => {
                    let ty = self.functions.get(function_index as usize).copied();
                    passed += ty.map_or(0, |ty| self.arity(ty));
                }
                Operator::CallIndirect { type_index, .. } => passed += self.arity(type_index),
                _ => {}
            }
        }
        Ok(branches.saturating_mul(locals + widest).saturating_add(passed))
    }

    fn carried(&self, block: BlockType) -> u64 {
        match block {
            BlockType::Empty => 0,
            BlockType::Type(_) => 1,
            BlockType::FuncType(ty) => self.arity(ty),
        }
    }

    fn arity(&self, ty: u32) -> u64 {
        self.types.get(ty as usize).copied().unwrap_or_default()
    }
}

fn arity(ty: &FuncType) -> u64 {
    (ty.params().len() + ty.results().len()) as u64
}
