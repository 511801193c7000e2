%% Version 1. Compiled as module `counter`.
-module(counter).
-define(VSN, 1).
-include("counter.hrl").

%% Down: each row loses the field again.
code_change({down, _}, #v2{total = Total, open = Open, rows = Rows}, _) ->
    {ok, #v1{total = Total, open = Open, rows = [{row, Id, Name, Value} || {row, Id, Name, Value, _} <- Rows]}}.
