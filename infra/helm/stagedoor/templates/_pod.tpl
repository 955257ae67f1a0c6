{{/* What the Pod Security Standard "restricted" asks of a pod, and of a container. */}}
{{- define "stagedoor.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "stagedoor.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* Where pods may run: (dict "root" $ "part" "registry"). */}}
{{- define "stagedoor.placement" -}}
{{- with .root.Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- if .root.Values.topologyKeys }}
topologySpreadConstraints:
{{- range .root.Values.topologyKeys }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "stagedoor.selector" $ | nindent 8 }}
{{- end }}
{{- end }}
{{- end -}}

{{/*
What a service is told: (dict "root" $ "service" {...} "values" {...}). A setting that is given as a value wins. Numbers of
a values file are floating ones, and a large one would be written with an exponent.
*/}}
{{- define "stagedoor.settings" -}}
{{- $root := .root -}}
{{- $name := include "stagedoor.name" $root -}}
{{- $told := dict
  "ORIGIN" (include "stagedoor.origin" $root)
  "ISSUER" (printf "%s/id" (include "stagedoor.origin" $root))
  "HTTP_BIND" (printf "0.0.0.0:%v" .service.http)
  "TLS_CA_FILE" "/tls/ca.crt"
  "TLS_CERTIFICATE_FILE" "/tls/tls.crt"
  "TLS_KEY_FILE" "/tls/tls.key"
-}}
{{- if ne .service.key "console" -}}
{{- $_ := set $told "GRPC_BIND" (printf "0.0.0.0:%v" .service.grpc) -}}
{{- $_ := set $told "DATABASE" (include "stagedoor.database" (dict "root" $root "user" .service.module)) -}}
{{- $_ := set $told "DATABASE_PASSWORD_FILE" "/secrets/database" -}}
{{- end -}}
{{- if and (eq .service.program "main") (ne .service.key "console") -}}
{{- $_ := set $told "NATS_URL" (required "nats.url: the addresses of NATS have to be said" $root.Values.nats.url) -}}
{{- $_ := set $told "NATS_USER" .service.module -}}
{{- $_ := set $told "NATS_PASSWORD_FILE" "/secrets/nats" -}}
{{- end -}}
{{- range (include "stagedoor.services" $root | fromYaml).services -}}
{{- if and (eq .program "main") .grpc -}}
{{- $_ := set $told (printf "%s_ADDRESS" (upper .module)) (printf "%s-%s:%v" $name .part .grpc) -}}
{{- end -}}
{{- end -}}
{{- if $root.Values.proxies -}}
{{- $_ := set $told "PROXIES" (toJson $root.Values.proxies) -}}
{{- end -}}
{{- if $root.Values.issuerAuthority.secret -}}
{{- $_ := set $told "ISSUER_CA_FILE" "/issuer/ca.crt" -}}
{{- end -}}
{{- if not (has .service.key (list "resource" "validation")) -}}
{{- $_ := set $told "MASTER_KEY_FILE" "/secrets/master" -}}
{{- end -}}
{{- if and (eq .service.key "identity") .values.deploySecret -}}
{{- $_ := set $told "DEPLOY_SECRET_FILE" "/secrets/deploy" -}}
{{- end -}}
{{- if eq .service.key "ledger" -}}
{{- $_ := set $told "EVIDENCE_FOLDER" "/evidence" -}}
{{- $_ := set $told "ARCHIVE_FOLDER" "/evidence/archive" -}}
{{- $_ := set $told "NATS_REPLICAS" (printf "%v" $root.Values.nats.replicas) -}}
{{- $_ := set $told "REQUIRE_SYNCHRONOUS_REPLICATION" "true" -}}
{{- end -}}
{{- $told = mergeOverwrite $told $root.Values.settings -}}
{{- if eq .service.key "validation" -}}
{{- $told = mergeOverwrite $told $root.Values.tokenIssuer.settings -}}
{{- end -}}
{{- $told = mergeOverwrite $told .values.settings -}}
{{- with $root.Values.otlpEndpoint }}
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ . | quote }}
{{- end }}
{{- range $key := keys $told | sortAlpha }}
{{- $value := get $told $key }}
- name: STAGEDOOR_{{ $key }}
  value: {{ ternary (printf "%.15g" (float64 $value)) (toString $value) (kindIs "float64" $value) | quote }}
{{- end -}}
{{- end -}}
