;; A component whose module has a table of ten million elements, each of them eight bytes of the host's memory.
(component
  (core module $m (table 10000000 funcref))
  (core instance (instantiate $m))
)
