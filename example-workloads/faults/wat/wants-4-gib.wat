;; Its memory begins with 4 GiB.
(module
  (memory (export "memory") 65536)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 65536))
  (func (export "hotswap:workload/lifecycle@0.1.0#describe") (result i32) (i32.const 0))
  (func (export "hotswap:workload/lifecycle@0.1.0#init") (param i32 i32) (result i32) (i32.const 0))
  (func (export "hotswap:workload/lifecycle@0.1.0#snapshot") (param i32) (result i32) (i32.const 0))
  (func (export "hotswap:workload/lifecycle@0.1.0#code-change") (param i32 i64 i32 i32 i32 i32) (result i32)
    (i32.const 0))
  (func (export "hotswap:workload/lifecycle@0.1.0#health") (result i32) (i32.const 0))
  (func (export "hotswap:workload/handler@0.1.0#handle") (param $now i64) (param i32 i32) (result i32)
    (i32.const 0))
)
