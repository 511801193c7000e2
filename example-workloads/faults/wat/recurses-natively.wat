;; Every batch calls a function that calls itself without end and without a stack in linear memory. All answers are zeros,
;; which is an empty answer of each kind: state, effects, health.
(module
  (memory (export "memory") 64)
  (func $deeper (param i64) (result i64)
    ;; Added after the call, so that it can't become a jump.
    (i64.add (local.get 0) (call $deeper (i64.add (local.get 0) (i64.const 1)))))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 65536))
  (func (export "hotswap:workload/lifecycle@0.1.0#describe") (result i32) (i32.const 0))
  (func (export "hotswap:workload/lifecycle@0.1.0#init") (param i32 i32) (result i32) (i32.const 0))
  (func (export "hotswap:workload/lifecycle@0.1.0#snapshot") (param i32) (result i32) (i32.const 0))
  (func (export "hotswap:workload/lifecycle@0.1.0#code-change") (param i32 i64 i32 i32 i32 i32) (result i32)
    (i32.const 0))
  (func (export "hotswap:workload/lifecycle@0.1.0#health") (result i32) (i32.const 0))
  (func (export "hotswap:workload/handler@0.1.0#handle") (param $now i64) (param i32 i32) (result i32)
    (call $deeper (local.get $now))
    (drop)
    (i32.const 0))
)
