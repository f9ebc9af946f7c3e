//! FlowRuleService.

use std::sync::Arc;

use nic_model::{FlowRuleSpec, Kind, Spec, Stored, Violation};
use nic_proto::v1 as pb;
use nic_proto::v1::flow_rule_service_server::FlowRuleService;
use tonic::{Request, Response, Status};

use super::collection::{Collection, Field, Mutation, Seen, Sent, create, delete, get, list, update};
use crate::condition::Asked;
use crate::convert::{metadata, name};
use crate::core::Core;

pub(crate) struct FlowRules(pub(crate) Arc<Core>);

impl Collection for FlowRules {
    const NAME: &'static str = "FlowRule";
    const ID_FIELD: &'static str = "flowRuleId";
    const FIELDS: &'static [Field<pb::FlowRuleSpec>] = &[
        ("flow", |from, into| into.flow.clone_from(&from.flow)),
        ("priority", |from, into| into.priority = from.priority),
    ];
    const ASKED: Asked = Asked::Flows;
    type Message = pb::FlowRule;
    type Wire = pb::FlowRuleSpec;
    type Spec = FlowRuleSpec;

    fn sent(message: &pb::FlowRule) -> Sent<'_, pb::FlowRuleSpec> {
        Sent { name: &message.name, etag: &message.etag, spec: message.spec.as_ref() }
    }

    fn parse(spec: &pb::FlowRuleSpec) -> Result<Spec, Vec<Violation>> {
        FlowRuleSpec::parse(&spec.flow, spec.priority).map(Spec::FlowRule)
    }

    fn wire(spec: &FlowRuleSpec) -> pb::FlowRuleSpec {
        pb::FlowRuleSpec { flow: spec.text().to_owned(), priority: spec.set_priority().map(u32::from) }
    }

    fn message(flow_rule: &Stored<FlowRuleSpec>, seen: Option<Seen<'_>>) -> pb::FlowRule {
        pb::FlowRule {
            name: name(Kind::FlowRule, &flow_rule.id),
            spec: Some(FlowRules::wire(&flow_rule.spec)),
            status: seen.map(|seen| status(flow_rule, seen)),
            etag: flow_rule.meta.etag(),
            metadata: Some(metadata(&flow_rule.meta)),
        }
    }
}

fn status(rule: &Stored<FlowRuleSpec>, seen: Seen<'_>) -> pb::FlowRuleStatus {
    let references = rule.spec.flow().references();
    pb::FlowRuleStatus {
        conditions: seen.observed.of_flow_rule(seen.state, rule),
        effective: rule.spec.effective().to_string(),
        references: references.into_iter().map(|id| name(Kind::Port, id)).collect(),
    }
}

#[tonic::async_trait]
impl FlowRuleService for FlowRules {
    async fn create_flow_rule(
        &self,
        request: Request<pb::CreateFlowRuleRequest>,
    ) -> Result<Response<pb::CreateFlowRuleResponse>, Status> {
        let request = request.get_ref();
        let mutation = Mutation { request, request_id: &request.request_id };
        let (flow_rule, revision) =
            create::<FlowRules>(&self.0, mutation, &request.flow_rule_id, request.flow_rule.as_ref()).await?;
        Ok(Response::new(pb::CreateFlowRuleResponse { flow_rule: Some(flow_rule), revision }))
    }

    async fn get_flow_rule(
        &self,
        request: Request<pb::GetFlowRuleRequest>,
    ) -> Result<Response<pb::FlowRule>, Status> {
        Ok(Response::new(get::<FlowRules>(&self.0, &request.get_ref().name).await?))
    }

    async fn list_flow_rules(
        &self,
        request: Request<pb::ListFlowRulesRequest>,
    ) -> Result<Response<pb::ListFlowRulesResponse>, Status> {
        let request = request.get_ref();
        let page = list::<FlowRules>(&self.0, request.page_size, &request.page_token).await?;
        Ok(Response::new(pb::ListFlowRulesResponse {
            flow_rules: page.resources,
            next_page_token: page.next_page_token,
            revision: page.revision,
        }))
    }

    async fn update_flow_rule(
        &self,
        request: Request<pb::UpdateFlowRuleRequest>,
    ) -> Result<Response<pb::UpdateFlowRuleResponse>, Status> {
        let request = request.get_ref();
        let mutation = Mutation { request, request_id: &request.request_id };
        let (sent, mask) = (request.flow_rule.as_ref(), request.update_mask.as_ref());
        let (flow_rule, revision) = update::<FlowRules>(&self.0, mutation, sent, mask).await?;
        Ok(Response::new(pb::UpdateFlowRuleResponse { flow_rule: Some(flow_rule), revision }))
    }

    async fn delete_flow_rule(
        &self,
        request: Request<pb::DeleteFlowRuleRequest>,
    ) -> Result<Response<pb::DeleteFlowRuleResponse>, Status> {
        let request = request.get_ref();
        let mutation = Mutation { request, request_id: &request.request_id };
        let revision = delete::<FlowRules>(&self.0, mutation, &request.name, &request.etag).await?;
        Ok(Response::new(pb::DeleteFlowRuleResponse { revision }))
    }
}
