%% Version 2. Compiled as module `counter`.
-module(counter).
-define(VSN, 2).
-include("counter.hrl").

%% Up: each row gets one more field.
code_change(_, #v1{total = Total, open = Open, rows = Rows}, _) ->
    {ok, #v2{total = Total, open = Open, rows = [{row, Id, Name, Value, 0} || {row, Id, Name, Value} <- Rows]}}.
