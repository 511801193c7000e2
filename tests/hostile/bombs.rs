//! Components that are small to write down and hard to compile, put together byte by byte.

/// A component of this core module.
fn component(module: &[u8]) -> Vec<u8> {
    [b"\0asm\x0d\0\x01\0".as_slice(), &section(1, module)].concat()
}

/// A core module with these sections: id and content.
fn module(sections: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let sections: Vec<_> = sections.iter().flat_map(|(id, content)| section(*id, content)).collect();
    [b"\0asm\x01\0\0\0".as_slice(), &sections].concat()
}

fn section(id: u8, content: &[u8]) -> Vec<u8> {
    [vec![id], number(content.len()), content.to_vec()].concat()
}

/// LEB128, as WebAssembly writes numbers.
fn number(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(u8::try_from(value & 0x7f).unwrap() | 0x80);
        value >>= 7;
    }
    bytes.push(u8::try_from(value).unwrap());
    bytes
}

/// A function of `locals` locals (i64) and this code, as the code section has it.
fn body(locals: usize, code: &[u8]) -> Vec<u8> {
    let locals = if locals == 0 { vec![0] } else { [vec![1], number(locals), vec![0x7e]].concat() };
    let body = [&locals, code, &[0x0b]].concat();
    [number(body.len()), body].concat()
}

/// A component of one function of no parameters and no results.
fn one_function(locals: usize, code: &[u8]) -> Vec<u8> {
    one_function_of(&[0x60, 0, 0], locals, code)
}

fn one_function_of(signature: &[u8], locals: usize, code: &[u8]) -> Vec<u8> {
    let types = [&[1], signature].concat();
    component(&module(&[(1, types), (3, vec![1, 0]), (10, [vec![1], body(locals, code)].concat())]))
}

/// So many functions that do nothing.
pub(super) fn functions(count: usize) -> Vec<u8> {
    let declared = [number(count), vec![0; count]].concat();
    let code = [number(count), body(0, &[]).repeat(count)].concat();
    component(&module(&[(1, vec![1, 0x60, 0, 0]), (3, declared), (10, code)]))
}

/// One function of this many instructions that do nothing.
pub(super) fn large_function(bytes: usize) -> Vec<u8> {
    one_function(0, &vec![0x01; bytes])
}

/// Loops one after the other, then a use of every local: each loop has to carry all of them.
pub(super) fn loops_over_locals(locals: usize, loops: usize) -> Vec<u8> {
    // `loop`, `i32.const 0`, `br_if 0`, `end`
    let mut code = [0x03, 0x40, 0x41, 0x00, 0x0d, 0x00, 0x0b].repeat(loops);
    for local in 0..locals {
        code.extend([vec![0x20], number(local), vec![0x1a]].concat());
    }
    one_function(locals, &code)
}

/// One jump to so many targets out of a loop that carries all locals.
pub(super) fn table_of_branches(locals: usize, targets: usize) -> Vec<u8> {
    let jump = [vec![0x41, 0x00, 0x0e], number(targets), vec![0; targets + 1]].concat();
    one_function(locals, &[&[0x03, 0x40][..], &jump, &[0x0b]].concat())
}

/// Calls, one after the other, that take and give so many values each.
pub(super) fn wide_calls(values: usize, calls: usize) -> Vec<u8> {
    let list = [number(values), vec![0x7e; values]].concat();
    let signature = [vec![0x60], list.clone(), list].concat();
    let parameters: Vec<_> = (0..values).flat_map(|local| [vec![0x20], number(local)].concat()).collect();
    one_function_of(&signature, 0, &[parameters, [0x10, 0x00].repeat(calls)].concat())
}

/// So many modules, each of them empty.
pub(super) fn modules(count: usize) -> Vec<u8> {
    [b"\0asm\x0d\0\x01\0".to_vec(), section(1, &module(&[])).repeat(count)].concat()
}

/// A module with so many bytes of data for a memory of 64 MiB.
pub(super) fn data(bytes: usize) -> Vec<u8> {
    let memory = vec![1, 0, 0x80, 0x08];
    let segment = [vec![1, 0, 0x41, 0x00, 0x0b], number(bytes), vec![0xaa; bytes]].concat();
    component(&module(&[(5, memory), (11, segment)]))
}
