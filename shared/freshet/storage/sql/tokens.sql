-- Bearer tokens: only their SHA-256 is kept.

-- name: TokenInsert
insert into engine.api_token (digest, name) values (%(digest)s, %(name)s);

-- name: TokenFind
select name from engine.api_token where digest = %(digest)s;
