-- What a dispatcher needs to find the tasks that the end of one may start, without a look at all the others.

-- Null: opened by a dispatcher of a version that did not write it; such a scope is loaded as a whole.
alter table engine.task_run add column children text[]; -- paths of the tasks that come after it, in the same scope
